import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { staleKeys } from "./keys";
import { Invalidator } from "./query";

describe("Invalidator", () => {
  let now = 0;
  beforeEach(() => {
    now = 0;
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });
  const pass = (ms: number) => {
    now += ms;
    vi.advanceTimersByTime(ms);
  };

  it("marks each key once for a burst, and not more often than its interval", () => {
    const invalidate = vi.fn();
    const invalidator = new Invalidator(invalidate, 1_000, 100, () => now);
    for (let n = 0; n < 500; n++) invalidator.add([["agents"], ["overview"]]);
    expect(invalidate).not.toHaveBeenCalled();
    pass(100);
    expect(invalidate.mock.calls).toEqual([[["agents"]], [["overview"]]]);
    invalidator.add([["agents"]]);
    pass(900);
    expect(invalidate).toHaveBeenCalledTimes(2);
    pass(200);
    expect(invalidate).toHaveBeenCalledTimes(3);
  });

  it("forgets what is pending when it is cancelled", () => {
    const invalidate = vi.fn();
    const invalidator = new Invalidator(invalidate, 1_000, 100, () => now);
    invalidator.add([["agents"]]);
    invalidator.cancel();
    pass(5_000);
    expect(invalidate).not.toHaveBeenCalled();
  });
});

describe("staleKeys", () => {
  it("names the object itself when its id is known", () => {
    expect(staleKeys("agent", "a1")).toContainEqual(["agent", "a1"]);
    expect(staleKeys("command", null)).not.toContainEqual(["command", null]);
  });

  it("names a machine's logs by the machine, and everyone's when it is not known", () => {
    expect(staleKeys("agent_log", "l1", "a1")).toEqual([
      ["agent-logs", "a1"],
      ["agent-crashes", "a1"],
    ]);
    expect(staleKeys("agent_log", null)).toEqual([["agent-logs"], ["agent-crashes"]]);
  });
});
