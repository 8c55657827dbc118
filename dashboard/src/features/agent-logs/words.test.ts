import { describe, expect, it } from "vitest";
import type { AgentLog } from "../../api/types";
import { crashCause, failure, fileName, logState, shortcomings } from "./words";

const log = (change: Partial<AgentLog>): AgentLog => ({
  id: "l1",
  agent_id: "a1",
  status: "complete",
  requested_at: "2026-11-29T19:00:00Z",
  requested_by_name: "Maya Lindqvist",
  ended_at: "2026-11-29T19:00:01Z",
  received_bytes: 2_097_152,
  total_bytes: 2_097_152,
  lost_lines: 0,
  error: null,
  ...change,
});

describe("words", () => {
  it("causes and states read as words; unknown ones as they are", () => {
    expect(crashCause("killed")).toContain("out of memory");
    expect(crashCause("stack_overflow")).toBe("stack_overflow");
    expect(logState("complete").label).toBe("Complete");
    expect(logState("paused" as AgentLog["status"]).label).toBe("paused");
  });

  it("what the server said becomes a sentence", () => {
    expect(failure({ error: "the machine did not send it in time" })).toBe(
      "The machine did not send it in time.",
    );
    expect(failure({ error: null })).not.toBe("");
  });

  it("says what is lacking, and nothing when nothing is", () => {
    expect(shortcomings(log({}))).toEqual([]);
    expect(shortcomings(log({ total_bytes: null, lost_lines: null }))).toEqual([]);
    expect(shortcomings(log({ total_bytes: 3 * 1024 * 1024, lost_lines: 1 }))).toEqual([
      "Showing the newest 2.0 MiB of 3.0 MiB on the machine.",
      "1 line could not be written since the agent started.",
    ]);
  });

  it("a file's name is a name, whatever the machine calls itself", () => {
    const of = { requested_at: "2026-11-29T19:00:00Z" };
    expect(fileName("acm-ws-001", of)).toBe("acm-ws-001-20261129-190000.log");
    expect(fileName("../../etc/passwd", of)).toBe("etc-passwd-20261129-190000.log");
    expect(fileName('"><img src=x>\u202e', of)).toBe("img-src-x-20261129-190000.log");
    expect(fileName("...", of)).toBe("agent-20261129-190000.log");
    expect(fileName("büro", { crashed_at: of.requested_at })).toBe(
      "büro-crash-20261129-190000.log",
    );
  });
});
