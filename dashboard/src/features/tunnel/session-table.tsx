import { useInfiniteQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type ReactNode, useState } from "react";
import { rowsOf } from "../../api/query";
import type { TunnelSession } from "../../api/types";
import { formatBytes, formatDuration } from "../../lib/format";
import { useWide } from "../../lib/media";
import { useNow } from "../../lib/now";
import { errorMessage } from "../../lib/problem";
import { Status } from "../../ui/badge";
import { Button } from "../../ui/button";
import { Confirm } from "../../ui/confirm";
import { PagedList } from "../../ui/paged-list";
import { Table, Td, Th, Tr } from "../../ui/table";
import { DateTime, RelativeTime } from "../../ui/time";
import { useCan, useSession } from "../session/session";
import { type SessionFilter, sessionsQuery, useEndSession } from "./sessions-queries";
import { closedWords } from "./words";

/** Sessions with machines, the newest first. */
export function SessionTable({
  filter,
  showAgent,
  empty,
}: {
  filter: SessionFilter;
  showAgent: boolean;
  empty: ReactNode;
}) {
  const wide = useWide();
  // On a phone who it was stands below the machine.
  const hasWho = wide || !showAgent;
  const query = useInfiniteQuery(sessionsQuery(filter));
  const [ending, setEnding] = useState<TunnelSession | null>(null);
  const end = useEndSession();
  return (
    <>
      <PagedList query={query} skeletonRows={4} empty={empty}>
        <Table>
          <thead>
            <tr>
              {showAgent && <Th>Machine</Th>}
              {hasWho && <Th>Who</Th>}
              {wide && <Th>Opened</Th>}
              {wide && <Th>Open for</Th>}
              {wide && <Th>State</Th>}
              {wide && <Th>Why</Th>}
              {wide && <Th>From it, to it</Th>}
              <Th>
                <span className="sr-only">Actions</span>
              </Th>
            </tr>
          </thead>
          <tbody>
            {rowsOf(query.data).map((session) => (
              <Row
                key={session.session_id}
                session={session}
                showAgent={showAgent}
                wide={wide}
                onEnd={() => setEnding(session)}
              />
            ))}
          </tbody>
        </Table>
      </PagedList>
      <Confirm
        open={ending !== null}
        onOpenChange={(open) => {
          if (open) return;
          setEnding(null);
          end.reset();
        }}
        title={`End the session with ${ending?.agent_hostname ?? "the machine"}?`}
        action="End session"
        busy={end.isPending}
        error={end.error && errorMessage(end.error)}
        onConfirm={() => {
          if (ending) end.mutate(ending.session_id, { onSuccess: () => setEnding(null) });
        }}
      >
        <p>
          {ending?.tech_name ?? "The tech"} works in it. Shells and what runs in them end at once.
        </p>
      </Confirm>
    </>
  );
}

function Row({
  session,
  showAgent,
  wide,
  onEnd,
}: {
  session: TunnelSession;
  showAgent: boolean;
  wide: boolean;
  onEnd: () => void;
}) {
  const now = useNow();
  const self = useSession();
  const canEnd = useCan("end_tunnels");
  const canReplay = useCan("read_recordings");
  const { agent_id, session_id, opened_at, closed_at } = session;
  const isOpen = session.status === "active";
  const isOwn = session.tech_id === self.user.id;
  const seconds =
    ((closed_at ? new Date(closed_at).getTime() : now) - new Date(opened_at).getTime()) / 1000;
  const machine = session.agent_hostname ?? "A machine that was deleted";
  const tech = session.tech_name ?? "Someone who was deleted";
  const state = isOpen ? (
    <Status tone="ok" pulse>
      Open
    </Status>
  ) : (
    <span className="text-ink-2">{closedWords(session.closed_reason)}</span>
  );
  return (
    <Tr>
      {showAgent && (
        <Td className={wide ? "max-w-56" : "w-full max-w-0"}>
          <Link
            to="/agents/$agentId"
            params={{ agentId: agent_id }}
            className="block truncate rounded-sm font-medium hover:underline"
          >
            {machine}
          </Link>
          {!wide && (
            <>
              <p className="truncate text-sm">{tech}</p>
              <p className="truncate text-ink-2 text-sm">
                <RelativeTime time={opened_at} />, {formatDuration(seconds)}
              </p>
              {!isOpen && <p className="truncate text-sm">{state}</p>}
            </>
          )}
        </Td>
      )}
      {(wide || !showAgent) && (
        <Td className={wide ? "max-w-48" : "w-full max-w-0"}>
          <p className="truncate">{tech}</p>
          {!wide && (
            <>
              <p className="truncate text-ink-2 text-sm">
                <RelativeTime time={opened_at} />, {formatDuration(seconds)}
              </p>
              <div className="truncate text-sm">{state}</div>
            </>
          )}
        </Td>
      )}
      {wide && (
        <Td className="text-ink-2">
          <DateTime time={opened_at} />
        </Td>
      )}
      {wide && <Td className="whitespace-nowrap text-ink-2">{formatDuration(seconds)}</Td>}
      {wide && <Td>{state}</Td>}
      {wide && (
        <Td className="max-w-44 truncate text-ink-2" title={session.reason ?? undefined}>
          {[session.ticket, session.reason].filter(Boolean).join(": ") || "–"}
        </Td>
      )}
      {wide && (
        <Td className="whitespace-nowrap text-ink-2">
          {formatBytes(session.bytes_from_machine)}, {formatBytes(session.bytes_to_machine)}
        </Td>
      )}
      <Td className="w-0">
        <div className="flex flex-col items-end gap-2 md:flex-row md:justify-end">
          {isOpen && isOwn && (
            <Button asChild size="sm">
              <Link
                to="/agents/$agentId/session"
                params={{ agentId: agent_id }}
                search={{ session: session_id }}
                aria-label={`Go on with ${machine}`}
              >
                Go on
              </Link>
            </Button>
          )}
          {isOpen && canEnd && (
            <Button size="sm" aria-label={`End the session with ${machine}`} onClick={onEnd}>
              End
            </Button>
          )}
          {canReplay && (
            <Button asChild size="sm" variant="quiet">
              <Link
                to="/sessions/$sessionId"
                params={{ sessionId: session_id }}
                aria-label={`Replay the session with ${machine}`}
              >
                Replay
              </Link>
            </Button>
          )}
        </div>
      </Td>
    </Tr>
  );
}
