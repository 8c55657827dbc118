import type { Command, CommandStatus, CommandType } from "../../api/types";
import { formatElapsed } from "../../lib/format";
import type { Tone } from "../../ui/badge";

const STATES: Record<CommandStatus, { label: string; tone: Tone; final: boolean }> = {
  queued: { label: "Queued", tone: "idle", final: false },
  sent: { label: "Sent", tone: "accent", final: false },
  running: { label: "Running", tone: "accent", final: false },
  completed: { label: "Completed", tone: "ok", final: true },
  failed: { label: "Failed", tone: "crit", final: true },
  timeout: { label: "Timed out", tone: "crit", final: true },
  cancelled: { label: "Cancelled", tone: "idle", final: true },
  interrupted: { label: "Interrupted", tone: "warn", final: true },
  expired: { label: "Expired", tone: "warn", final: true },
};

export const COMMAND_STATUSES = Object.keys(STATES) as CommandStatus[];

/** A state that this page does not know (of a newer server) is shown by its name and taken as not final. */
export function commandState(status: CommandStatus) {
  return STATES[status] ?? { label: status, tone: "idle" as Tone, final: false };
}

export function isFinal(command: Pick<Command, "status">): boolean {
  return commandState(command.status).final;
}

export function canCancel(command: Pick<Command, "status" | "cancel_requested_at">): boolean {
  return !isFinal(command) && command.cancel_requested_at === null;
}

/** What happened, in a sentence, where the state alone does not say it. */
export function outcome(command: Command): string | null {
  switch (command.status) {
    case "queued":
      return "Waiting for the machine to connect.";
    case "sent":
      return "Handed to the machine, not started yet.";
    case "running":
      return command.cancel_requested_at ? "Being cancelled." : null;
    case "failed":
      if (command.error_code === "NO_USER_SESSION")
        return "Nobody is signed in at the machine, so there was no session to run it in. It was not started.";
      return command.error ?? (command.exit_code === null ? "It could not be started." : null);
    case "timeout":
      return `Stopped after ${formatElapsed(command.timeout_seconds * 1000)}, its time limit.`;
    case "interrupted":
      return "The agent or the machine stopped while it ran. Whether it finished its work is not known.";
    case "expired":
      return "The machine did not connect in time; it was never started.";
    default:
      return command.error;
  }
}

/** Milliseconds from start to end, or to `now` while it runs; null before it has started. */
export function elapsedMs(command: Command, now: number): number | null {
  if (!command.started_at) return null;
  const end = command.ended_at ? new Date(command.ended_at).getTime() : now;
  return Math.max(0, end - new Date(command.started_at).getTime());
}

const TYPES: Record<CommandType, string> = {
  shell: "Shell",
  powershell: "PowerShell",
  python: "Python",
  script: "Script",
};

export function commandTypeName(type: CommandType): string {
  return TYPES[type] ?? type;
}

/** The first line that says something, for lists. */
export function commandTitle(command: Pick<Command, "command">): string {
  return (
    command.command
      .split("\n")
      .find((line) => line.trim() !== "")
      ?.trim() ?? "(empty)"
  );
}
