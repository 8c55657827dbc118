import { Link } from "@tanstack/react-router";
import { RotateCw } from "lucide-react";
import type { Command } from "../../api/types";
import { formatBytes, formatElapsed } from "../../lib/format";
import { useNow } from "../../lib/now";
import { Status } from "../../ui/badge";
import { Button } from "../../ui/button";
import { OutputView } from "../../ui/output-view";
import { ErrorState, SkeletonRows } from "../../ui/states";
import { RelativeTime } from "../../ui/time";
import { useDenied } from "../session/session";
import { useCancelCommand, useCommand, useCommandOutput } from "./queries";
import { canCancel, commandState, commandTypeName, elapsedMs, isFinal, outcome } from "./states";

/** One command: what was asked, how it goes, what it writes. */
export function CommandView({
  commandId,
  onRunAgain,
  showAgent = false,
}: {
  commandId: string;
  onRunAgain?: (command: Command) => void;
  showAgent?: boolean;
}) {
  const query = useCommand(commandId);
  if (query.isPending) return <SkeletonRows rows={4} />;
  if (query.isError && !query.data)
    return <ErrorState error={query.error} onRetry={() => query.refetch()} />;
  return <Loaded command={query.data} onRunAgain={onRunAgain} showAgent={showAgent} />;
}

function Loaded({
  command,
  onRunAgain,
  showAgent,
}: {
  command: Command;
  onRunAgain?: (command: Command) => void;
  showAgent: boolean;
}) {
  const output = useCommandOutput(command);
  const cancel = useCancelCommand();
  const denied = useDenied("run_commands");
  const now = useNow();
  const elapsed = elapsedMs(command, now);
  const sentence = outcome(command);
  return (
    <article aria-label="Chosen run" className="min-w-0">
      <div className="grid gap-3 px-4 py-3.5">
        <div className="flex flex-wrap items-start justify-between gap-3">
          <div className="flex flex-wrap items-center gap-x-4 gap-y-1 text-base" aria-live="polite">
            <CommandStatusLabel command={command} />
            {command.exit_code !== null && (
              <span className="text-ink-2">exit code {command.exit_code}</span>
            )}
            {elapsed !== null && <span className="text-ink-2">{formatElapsed(elapsed)}</span>}
          </div>
          <div className="flex gap-2">
            {!isFinal(command) && (
              <Button
                size="sm"
                variant="dangerOutline"
                busy={cancel.isPending}
                disabledReason={
                  denied ?? (canCancel(command) ? null : "Cancelling has been asked for.")
                }
                onClick={() => cancel.mutate(command.id)}
              >
                Cancel
              </Button>
            )}
            {isFinal(command) && onRunAgain && (
              <Button size="sm" disabledReason={denied} onClick={() => onRunAgain(command)}>
                <RotateCw aria-hidden />
                Use again
              </Button>
            )}
          </div>
        </div>
        {sentence && <p className="text-base text-ink-2 wrap-anywhere">{sentence}</p>}
        <pre className="scroll-thin max-h-40 overflow-auto whitespace-pre-wrap rounded-md border border-line bg-sunken px-3 py-2 font-mono text-sm wrap-anywhere">
          {command.command}
        </pre>
        <p className="flex flex-wrap gap-x-4 gap-y-0.5 text-ink-2 text-sm">
          {showAgent && (
            <Link
              to="/agents/$agentId"
              params={{ agentId: command.agent_id }}
              className="rounded-sm text-accent hover:underline"
            >
              {command.agent_hostname}
            </Link>
          )}
          <span>{commandTypeName(command.command_type)}</span>
          {command.interpreter && <span className="font-mono">{command.interpreter}</span>}
          {command.elevated && <span>elevated</span>}
          {command.context === "user_session" && <span>in the user's session</span>}
          {command.working_directory && (
            <span className="wrap-anywhere">
              in <span className="font-mono">{command.working_directory}</span>
            </span>
          )}
          <span>
            {command.created_by_name ?? "unknown"}, <RelativeTime time={command.created_at} />
          </span>
        </p>
      </div>
      <div className="border-t">
        {output.isPending ? (
          <SkeletonRows rows={3} />
        ) : output.isError && !output.data ? (
          <ErrorState error={output.error} onRetry={() => output.refetch()} />
        ) : (
          <OutputView
            log={output.data}
            label="Output"
            placeholder={isFinal(command) ? "It wrote nothing." : "No output yet."}
          />
        )}
        <p className="flex flex-wrap gap-x-4 border-t px-4 py-2 text-ink-2 text-sm">
          <span>{formatBytes(command.stdout_bytes)} output</span>
          <span>{formatBytes(command.stderr_bytes)} errors</span>
          {command.truncated && (
            <span className="text-warn">
              The output was larger than what is kept; the rest was dropped.
            </span>
          )}
        </p>
      </div>
    </article>
  );
}

export function CommandStatusLabel({ command }: { command: Pick<Command, "status"> }) {
  const { label, tone } = commandState(command.status);
  return (
    <Status tone={tone} pulse={command.status === "running"}>
      {label}
    </Status>
  );
}
