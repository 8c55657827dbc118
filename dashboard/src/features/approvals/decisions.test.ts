import { describe, expect, it } from "vitest";
import type { Agent, Outcome, WaitingMachine } from "../../api/types";
import { approvable, decide, summary, together } from "./decisions";

const waiting = (hostname: string, facts: Partial<Agent> = {}): WaitingMachine => ({
  agent: {
    id: `id-of-${hostname}`,
    hostname,
    pending_reason: "approval_required",
    key_fingerprint: "0a1b2c3d",
    key_changes: 0,
    ...facts,
  } as Agent,
  asked_from: "192.0.2.7",
  asked_at: "2026-03-12T10:24:00Z",
  mac_addresses: [],
  board_serial: null,
  disk_serial: null,
  key_label: "v3 (7F2A)",
  key_note: null,
  collides_with: null,
});

describe("decisions about machines that wait", () => {
  it("name the key that was looked at", () => {
    expect(decide(waiting("pc-1"), "accept")).toEqual({
      agent_id: "id-of-pc-1",
      verdict: "accept",
      key_fingerprint: "0a1b2c3d",
    });
  });

  it("are made together only where nobody has to look which machine it is", () => {
    const machines = [
      waiting("pc-1"),
      waiting("clone", { pending_reason: "identity_in_use" }),
      waiting("retired", { pending_reason: "retired_before" }),
      waiting("rejected", { pending_reason: "rejected_before" }),
      waiting("other-key", { key_changes: 1 }),
    ];
    expect(approvable(machines).map(({ agent }) => agent.hostname)).toEqual(["pc-1", "rejected"]);
  });

  it("fit into one request", () => {
    const machines = Array.from({ length: 130 }, (_, n) => waiting(`pc-${n}`));
    expect(together(machines, "reject")).toHaveLength(100);
  });

  it("are summed up with what was in the way of each", () => {
    const machines = [waiting("pc-1"), waiting("pc-2")];
    const done: Outcome = { agent_id: "id-of-pc-1", approved_as: "id-of-pc-1", problem: null };
    const failed: Outcome = {
      agent_id: "id-of-pc-2",
      approved_as: null,
      problem: { code: "AGENT_NOT_PENDING", detail: "The machine does not wait for approval" },
    };
    expect(summary(machines, [done, failed], "accept")).toEqual({
      done: "1 machine was let in.",
      problems: [{ id: "id-of-pc-2", text: "pc-2: The machine does not wait for approval" }],
    });
    expect(summary(machines, [failed], "reject").done).toBeNull();
  });
});
