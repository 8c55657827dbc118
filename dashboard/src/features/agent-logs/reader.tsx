import { useQuery } from "@tanstack/react-query";
import type { Agent, AgentCrash, AgentLog } from "../../api/types";
import { formatBytes } from "../../lib/format";
import { ApiError } from "../../lib/problem";
import { Status } from "../../ui/badge";
import { EmptyState, ErrorState, SkeletonRows } from "../../ui/states";
import { DateTime, RelativeTime } from "../../ui/time";
import { LogView } from "./log-view";
import { agentCrashQuery, agentLogQuery } from "./queries";
import { crashCause, failure, fileName, logState, shortcomings } from "./words";

/** A log that is over is fetched; one that is on its way says so. `known` is what the list says of it. */
export function LogReader({ agent, id, known }: { agent: Agent; id: string; known?: AgentLog }) {
  const nothing = known?.status === "failed" && known.received_bytes === 0;
  const query = useQuery({
    ...agentLogQuery(id),
    enabled: known?.status !== "requested" && !nothing,
  });
  if (known?.status === "requested") return <OnItsWay agent={agent} log={known} />;
  if (known && nothing) return <LogText agent={agent} log={known} text={null} />;
  if (query.isPending) return <SkeletonRows rows={8} />;
  if (query.isError) {
    return <NotRead error={query.error} what="log" onRetry={() => query.refetch()} />;
  }
  const { log, text } = query.data;
  if (log.agent_id !== agent.id) return <Gone what="log" />;
  if (log.status === "requested") return <OnItsWay agent={agent} log={log} />;
  return <LogText agent={agent} log={log} text={text} />;
}

export function CrashReader({ agent, id }: { agent: Agent; id: string }) {
  const query = useQuery(agentCrashQuery(id));
  if (query.isPending) return <SkeletonRows rows={8} />;
  if (query.isError) {
    return <NotRead error={query.error} what="crash" onRetry={() => query.refetch()} />;
  }
  const { crash, text } = query.data;
  if (crash.agent_id !== agent.id) return <Gone what="crash" />;
  return <CrashText agent={agent} crash={crash} text={text} />;
}

function NotRead({
  error,
  what,
  onRetry,
}: {
  error: unknown;
  what: "log" | "crash";
  onRetry: () => void;
}) {
  if (error instanceof ApiError && error.status === 404) return <Gone what={what} />;
  return <ErrorState error={error} onRetry={onRetry} />;
}

export function Gone({ what }: { what: "log" | "crash" }) {
  return (
    <EmptyState title={`This ${what} is no longer kept`}>
      {what === "log"
        ? "Of each machine the newest ten are kept. Get the log anew, or choose another."
        : "Of each machine the newest ten are kept. Choose another."}
    </EmptyState>
  );
}

export function OnItsWay({ agent, log }: { agent: Agent; log: AgentLog }) {
  return (
    <EmptyState title={log.received_bytes > 0 ? "The log is coming" : "Waiting for the machine"}>
      <p>
        {log.received_bytes > 0
          ? `${formatBytes(log.received_bytes)} so far. The text is shown once all of it has come.`
          : agent.is_connected
            ? "The text is shown here once all of it has come."
            : "The machine is offline. It is asked again should it come back within two minutes."}
      </p>
    </EmptyState>
  );
}

/** `text` is null where nothing came at all. */
export function LogText({
  agent,
  log,
  text,
}: {
  agent: Pick<Agent, "hostname">;
  log: AgentLog;
  text: string | null;
}) {
  const { label, tone } = logState(log.status);
  const head = (
    <>
      <h2 className="font-semibold text-base">
        <DateTime time={log.requested_at} />
      </h2>
      <p className="flex flex-wrap gap-x-4 gap-y-0.5 text-ink-2 text-sm">
        <Status tone={tone}>{label}</Status>
        <span>asked for by {log.requested_by_name ?? "someone"}</span>
        {log.received_bytes > 0 && <span>{formatBytes(log.received_bytes)}</span>}
      </p>
      {log.status === "failed" && (
        <p className="text-base wrap-anywhere">
          {failure(log)} {text !== null && "What had come before is below."}
        </p>
      )}
      {shortcomings(log).map((said) => (
        <p key={said} className="text-sm text-warn">
          {said}
        </p>
      ))}
    </>
  );
  return (
    <article aria-label="Chosen log" className="min-w-0">
      {text === null ? (
        <>
          <header className="grid gap-1 border-b px-4 py-3">{head}</header>
          <EmptyState title="Nothing of it has come" />
        </>
      ) : (
        <LogView
          head={head}
          text={text}
          file={fileName(agent.hostname, log)}
          placeholder="The agent has logged nothing."
        />
      )}
    </article>
  );
}

export function CrashText({
  agent,
  crash,
  text,
}: {
  agent: Pick<Agent, "hostname">;
  crash: AgentCrash;
  text: string;
}) {
  return (
    <article aria-label="Chosen crash" className="min-w-0">
      <LogView
        head={
          <>
            <h2 className="font-semibold text-base">{crashCause(crash.cause)}</h2>
            <p className="flex flex-wrap gap-x-4 gap-y-0.5 text-ink-2 text-sm">
              <DateTime time={crash.crashed_at} />
              <span className="wrap-anywhere">version {crash.agent_version}</span>
              <span>
                reported <RelativeTime time={crash.received_at} />
              </span>
            </p>
            {crash.message && (
              <p className="scroll-thin my-0.5 max-h-40 overflow-auto whitespace-pre-wrap font-mono text-sm wrap-anywhere">
                {crash.message}
              </p>
            )}
            <p className="text-ink-2 text-sm">Below: the end of its log before that.</p>
          </>
        }
        text={text}
        file={fileName(agent.hostname, crash)}
        placeholder="There was no log to go with it."
      />
    </article>
  );
}
