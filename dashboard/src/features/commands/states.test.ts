import { describe, expect, it } from "vitest";
import type { Command, CommandStatus } from "../../api/types";
import {
  COMMAND_STATUSES,
  canCancel,
  commandState,
  commandTitle,
  elapsedMs,
  isFinal,
  outcome,
} from "./states";

const command = (change: Partial<Command>) =>
  ({
    status: "running",
    cancel_requested_at: null,
    exit_code: null,
    error: null,
    ...change,
  }) as Command;

describe("command states", () => {
  it("ends in exactly the final ones", () => {
    expect(COMMAND_STATUSES.filter((status) => !isFinal({ status }))).toEqual([
      "queued",
      "sent",
      "running",
    ]);
  });

  it("offers cancel until it is final or asked for", () => {
    for (const status of COMMAND_STATUSES) {
      expect(canCancel(command({ status }))).toBe(!isFinal({ status }));
      expect(canCancel(command({ status, cancel_requested_at: "2026-03-12T00:00:00Z" }))).toBe(
        false,
      );
    }
  });

  it("shows a state of a newer server by its name and takes it as not final", () => {
    const unknown = "paused" as CommandStatus;
    expect(commandState(unknown).label).toBe("paused");
    expect(isFinal({ status: unknown })).toBe(false);
  });

  it("says of an interrupted command that its end is not known", () => {
    expect(outcome(command({ status: "interrupted" }))).toContain("not known");
  });

  it("says plainly that nobody was signed in", () => {
    const failed = { status: "failed" as const, error: "of the agent's" };
    expect(outcome(command({ ...failed, error_code: "NO_USER_SESSION" }))).toContain(
      "Nobody is signed in",
    );
    expect(outcome(command({ ...failed, error_code: "SPAWN_FAILED" }))).toBe("of the agent's");
  });

  it("measures from the start, to the end or to now", () => {
    expect(elapsedMs(command({ started_at: null }), 0)).toBeNull();
    expect(elapsedMs(command({ started_at: "1970-01-01T00:00:01Z", ended_at: null }), 3_000)).toBe(
      2_000,
    );
    expect(
      elapsedMs(
        command({ started_at: "1970-01-01T00:00:01Z", ended_at: "1970-01-01T00:00:02Z" }),
        9_000,
      ),
    ).toBe(1_000);
  });

  it("names a command by its first line that says something", () => {
    expect(commandTitle({ command: "\n  \n  echo hi\nrest" })).toBe("echo hi");
  });
});
