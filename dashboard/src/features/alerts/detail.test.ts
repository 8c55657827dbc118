import { describe, expect, it } from "vitest";
import { alertCrash, alertFacts, alertLine } from "./detail";

describe("alert detail", () => {
  it("says known reasons in a sentence and unknown ones as they are", () => {
    expect(
      alertLine({ kind: "x", detail: { reason: "identity_in_use", collides_with: "x" } }),
    ).toContain("same hardware identity");
    expect(alertLine({ kind: "x", detail: { reason: "brand_new" } })).toBe("brand_new");
  });

  it("shows every fact, whatever its type, and skips empty ones", () => {
    expect(
      alertFacts({
        kind: "x",
        detail: { hostname: "<b>", count: 3, nothing: null, nested: { a: [1] } },
      }),
    ).toEqual([
      { name: "Host name", value: "<b>" },
      { name: "Count", value: "3" },
      { name: "Nested", value: '{"a":[1]}' },
    ]);
  });

  it("shows both machines that take turns under one key", () => {
    const machines = [
      { hostname: "vm-01", address: "192.0.2.7", boot_time: "2026-11-29T19:00:00Z" },
      { hostname: "<i>vm-01</i>", address: null, boot_time: null },
    ];
    const facts = alertFacts({ kind: "agent.key_shared", detail: { machines } });
    expect(facts).toHaveLength(1);
    expect(facts[0]?.name).toBe("Taking turns");
    expect(facts[0]?.value).toMatch(
      /^vm-01 at 192\.0\.2\.7, started .*2026.*; <i>vm-01<\/i> at an unknown address$/,
    );
  });

  it("says in words how an agent crashed, and which crash it was", () => {
    const alert = {
      kind: "agent.crashed",
      detail: {
        crash_id: "c1",
        cause: "panic",
        crashed_at: "2026-11-29T19:00:00Z",
        agent_version: "0.1.0",
        message: "<img src=x> at session.rs:1",
      },
    };
    expect(alertLine(alert)).toBe("A fault in the agent: <img src=x> at session.rs:1");
    expect(alertLine({ ...alert, detail: { cause: "killed", message: null } })).toBe(
      "Ended from outside: killed or out of memory",
    );
    expect(alertFacts(alert).map(({ name }) => name)).toEqual([
      "Cause",
      "Crashed at",
      "Version",
      "Message",
    ]);
    expect(alertFacts(alert)[0]?.value).toBe("A fault in the agent");
    expect(alertCrash(alert)).toBe("c1");
  });

  it("knows no crash in other alerts, nor in a detail of another shape", () => {
    expect(alertCrash({ kind: "agent.pending", detail: { crash_id: "c1" } })).toBeNull();
    expect(alertCrash({ kind: "agent.crashed", detail: { crash_id: 7 } })).toBeNull();
  });
});
