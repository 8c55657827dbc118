import { useInfiniteQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { rowsOf } from "../../api/query";
import type { Connection } from "../../api/types";
import { formatDuration } from "../../lib/format";
import { useNow } from "../../lib/now";
import { Status } from "../../ui/badge";
import { PagedList } from "../../ui/paged-list";
import { Panel } from "../../ui/panel";
import { EmptyState } from "../../ui/states";
import { DateTime } from "../../ui/time";
import { connectionsQuery } from "./queries";
import { formatShare, type Stay, staysOf, timeOnline } from "./stays";

export function AgentConnectionsTab() {
  const { agentId } = useParams({ from: "/app/agents/$agentId/connections" });
  const query = useInfiniteQuery(connectionsQuery(agentId));
  const sessions = rowsOf(query.data);
  return (
    <Panel
      title="Connections"
      description={sessions.length > 0 && <Share sessions={sessions} />}
      flush
    >
      <PagedList
        query={query}
        empty={
          <EmptyState title="Not connected yet">
            When the machine is connected, and why it is not, is listed here.
          </EmptyState>
        }
      >
        <ol aria-label="Connections, the newest first">
          {staysOf(sessions).map((stay) => (
            <Row key={stay.session.number} stay={stay} />
          ))}
        </ol>
      </PagedList>
    </Panel>
  );
}

function Share({ sessions }: { sessions: Connection[] }) {
  const time = timeOnline(sessions, useNow());
  if (!time) return null;
  return (
    <>
      Online {formatShare(time.share)} of the time since <DateTime time={time.from} />
      {time.offlineSeconds >= 1 && `, offline for ${formatDuration(time.offlineSeconds)}`}
    </>
  );
}

function Row({ stay: { session, absence } }: { stay: Stay }) {
  const { connected_at, disconnected_at, agent_version, address } = session;
  return (
    <li className="border-line border-b last:border-b-0">
      {absence && (
        <Entry
          state={
            <Status tone={absence.to ? "idle" : "warn"}>
              {absence.from === absence.to ? "Reconnected" : "Offline"}
            </Status>
          }
          from={absence.from}
          to={absence.to}
        >
          {absence.why}
        </Entry>
      )}
      <Entry
        state={
          <Status tone="ok" pulse={!disconnected_at && !absence}>
            Online
          </Status>
        }
        from={connected_at}
        to={disconnected_at}
      >
        <span className="text-ink-2">
          agent {agent_version}
          {address && ` from ${address}`}
        </span>
      </Entry>
    </li>
  );
}

/** One stretch of time. */
function Entry({
  state,
  from,
  to,
  children,
}: {
  state: ReactNode;
  from: string;
  to: string | null;
  children: ReactNode;
}) {
  const now = useNow();
  const seconds = ((to ? Date.parse(to) : now) - Date.parse(from)) / 1000;
  return (
    <div className="grid grid-cols-[8rem_minmax(0,1fr)] gap-x-4 gap-y-0.5 px-4 py-2.5 text-base md:grid-cols-[8rem_7rem_minmax(0,1fr)_auto]">
      {state}
      <span className="font-medium max-md:text-right">
        {from !== to && formatDuration(Math.max(0, seconds))}
      </span>
      <span className="min-w-0 wrap-anywhere max-md:col-span-2">{children}</span>
      <span className="text-ink-2 text-sm leading-5 max-md:col-span-2">
        <DateTime time={from} />
        {from !== to && (
          <>
            {" "}
            {to ? (
              <>
                to <DateTime time={to} />
              </>
            ) : (
              "until now"
            )}
          </>
        )}
      </span>
    </div>
  );
}
