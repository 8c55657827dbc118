import { useQuery, useSuspenseQuery } from "@tanstack/react-query";
import { useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useEffect, useRef } from "react";
import type { Agent, AgentLog } from "../../api/types";
import { formatBytes } from "../../lib/format";
import type { AgentLogSearch } from "../../routes/search";
import { Button } from "../../ui/button";
import { Panel } from "../../ui/panel";
import { EmptyState, ErrorState, SkeletonRows } from "../../ui/states";
import { RelativeTime } from "../../ui/time";
import { agentQuery } from "../agents/queries";
import { useDenied } from "../session/session";
import { CrashList, LogList } from "./log-list";
import { agentCrashesQuery, useAgentLogs, useAskForLog } from "./queries";
import { CrashReader, LogReader } from "./reader";

export function AgentLogTab() {
  const { agentId } = useParams({ from: "/app/agents/$agentId/log" });
  const { agent } = useSuspenseQuery(agentQuery(agentId)).data;
  const denied = useDenied("read_agent_logs");
  if (denied) {
    return (
      <Panel>
        <p className="text-base text-ink-2">{denied}</p>
      </Panel>
    );
  }
  return <AgentLogs key={agentId} agent={agent} />;
}

function AgentLogs({ agent }: { agent: Agent }) {
  const search = useSearch({ from: "/app/agents/$agentId/log" });
  const navigate = useNavigate({ from: "/agents/$agentId/log" });
  const logs = useAgentLogs(agent.id);
  const crashes = useQuery(agentCrashesQuery(agent.id));
  const text = useRef<HTMLDivElement>(null);
  const show = () => {
    // Below the lists on a phone, beside them else.
    requestAnimationFrame(() =>
      text.current?.scrollIntoView({ block: "nearest", behavior: "smooth" }),
    );
  };
  const ask = useAskForLog(agent.id);
  const getLog = () =>
    ask.mutate(undefined, {
      // Not where the reader has gone elsewhere meanwhile.
      onSuccess: ({ id }) =>
        void navigate({ search: { log: id }, replace: true, resetScroll: false }),
    });
  // Who chose nothing reads the newest.
  const newest = logs.data?.[0]?.id;
  const newestCrash = logs.data?.length === 0 ? crashes.data?.[0]?.id : undefined;
  const chosen: AgentLogSearch =
    search.crash || search.log ? search : { log: newest, crash: newestCrash };
  const crashId = chosen.crash;
  const logId = crashId ? undefined : chosen.log;
  useEffect(() => {
    // Kept in the address, so that it stays when a newer one comes.
    if (search.crash || search.log || !(newest || newestCrash)) return;
    void navigate({
      search: { log: newest, crash: newestCrash },
      replace: true,
      resetScroll: false,
    });
  }, [search.crash, search.log, newest, newestCrash, navigate]);
  const isLoading = logs.isPending || crashes.isPending;
  const nothing = logs.data?.length === 0 && crashes.data?.length === 0 && !crashId && !logId;
  return (
    <div className="grid gap-5">
      <AskRow agent={agent} newest={logs.data?.[0]} busy={ask.isPending} onAsk={getLog} />
      {nothing ? (
        <Panel>
          <EmptyState title="No log was asked for yet">
            The agent keeps the newest part of its own log on the machine, and sends it when someone
            asks. No crash of it is known.
          </EmptyState>
        </Panel>
      ) : (
        <div className="grid items-start gap-5 xl:grid-cols-[22rem_minmax(0,1fr)]">
          <div className="grid min-w-0 gap-5">
            <Panel title="Logs" flush>
              {logs.isPending ? (
                <SkeletonRows rows={3} />
              ) : logs.isError && !logs.data ? (
                <ErrorState className="py-6" error={logs.error} onRetry={() => logs.refetch()} />
              ) : logs.data.length === 0 ? (
                <p className="px-4 py-3 text-ink-2">No log was asked for yet.</p>
              ) : (
                <LogList agentId={agent.id} items={logs.data} selected={logId} onOpen={show} />
              )}
            </Panel>
            <Panel title="Crashes" flush>
              {crashes.isPending ? (
                <SkeletonRows rows={3} />
              ) : crashes.isError && !crashes.data ? (
                <ErrorState
                  className="py-6"
                  error={crashes.error}
                  onRetry={() => crashes.refetch()}
                />
              ) : crashes.data.length === 0 ? (
                <p className="px-4 py-3 text-ink-2">None is known.</p>
              ) : (
                <CrashList
                  agentId={agent.id}
                  items={crashes.data}
                  selected={crashId}
                  onOpen={show}
                />
              )}
            </Panel>
          </div>
          <div ref={text} className="min-w-0 scroll-mt-16">
            {(crashId || logId || isLoading) && (
              <Panel flush>
                {crashId ? (
                  <CrashReader key={crashId} agent={agent} id={crashId} />
                ) : logId && !logs.isPending ? (
                  <LogReader
                    key={logId}
                    agent={agent}
                    id={logId}
                    known={logs.data?.find(({ id }) => id === logId)}
                  />
                ) : (
                  <SkeletonRows rows={8} />
                )}
              </Panel>
            )}
          </div>
        </div>
      )}
    </div>
  );
}

/** Why the log cannot be asked for now; null when it can. */
export function askDenied(agent: Pick<Agent, "status" | "is_connected">): string | null {
  if (agent.status === "pending") return "The machine waits for approval.";
  return agent.is_connected ? null : "The machine is offline. Its log can be had when it is back.";
}

export function AskRow({
  agent,
  newest,
  busy,
  onAsk,
}: {
  agent: Agent;
  newest: AgentLog | undefined;
  busy: boolean;
  onAsk: () => void;
}) {
  const coming = newest?.status === "requested";
  const denied = coming ? null : askDenied(agent);
  return (
    <div className="flex flex-wrap items-center gap-x-4 gap-y-2">
      <Button variant="primary" busy={busy || coming} disabledReason={denied} onClick={onAsk}>
        Get the log
      </Button>
      <div className="text-base text-ink-2">
        <span aria-live="polite">
          {coming
            ? newest.received_bytes > 0
              ? "The log is coming"
              : "Waiting for the machine"
            : denied}
        </span>
        {coming && newest.received_bytes > 0 && (
          <span>, {formatBytes(newest.received_bytes)} so far</span>
        )}
        {newest && (
          <span className={denied || coming ? "ml-4" : undefined}>
            {coming ? "Asked for by" : "Last asked for by"} {newest.requested_by_name ?? "someone"},{" "}
            <RelativeTime time={newest.requested_at} />
          </span>
        )}
      </div>
    </div>
  );
}
