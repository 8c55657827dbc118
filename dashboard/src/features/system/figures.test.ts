import { describe, expect, it } from "vitest";
import type { Node, SystemStatus } from "../../api/types";
import { arrivalWords, busWords, doorOf, historyWords, totalsOf } from "./figures";

const status = {
  connected_agents: 100,
  browsers: 2,
  samples_per_minute: 200,
  ingest_queue_depth: 5,
  ingest_lag_ms: 40,
} as SystemStatus;
const node = (more: Partial<Node>) =>
  ({
    status: "running",
    is_this: false,
    connected_agents: 10,
    browsers: 1,
    samples_per_minute: 20,
    ingest_queue_depth: 3,
    ingest_lag_ms: 70,
    ...more,
  }) as Node;

describe("totalsOf", () => {
  it("adds the servers that run, itself as it says now", () => {
    const nodes = [
      node({ is_this: true, connected_agents: 99 }),
      node({}),
      node({ status: "lost", connected_agents: 1_000, ingest_lag_ms: 9_000 }),
      node({ status: "stopped", ingest_queue_depth: 1_000 }),
    ];
    expect(totalsOf(status, nodes)).toEqual({
      connectedAgents: 110,
      browsers: 3,
      samplesPerMinute: 220,
      queueDepth: 8,
      lagMs: 70,
    });
  });

  it("says its own while the others' are not known", () => {
    expect(totalsOf(status, undefined).connectedAgents).toBe(100);
  });
});

describe("busWords", () => {
  it("warns of a server that cannot hear the others", () => {
    expect(busWords({ bus: "away", status: "running" })).toMatch(/^NATS is away/);
    expect(busWords({ bus: "alone", status: "running" })).toBe("works by itself");
    expect(busWords({ bus: "away", status: "lost" })).toBeNull();
  });
});

describe("arrivalWords", () => {
  const arrivals = (under_way: number, is_holding_back: boolean, is_full: boolean) => ({
    under_way,
    at_most: 512,
    turned_away: 9,
    is_holding_back,
    room: 17_000,
    is_full,
  });
  const words = (under_way: number, is_holding_back: boolean, is_full = false) =>
    arrivalWords(arrivals(under_way, is_holding_back, is_full));

  it("says whether agents are held back", () => {
    expect(words(512, true)).toMatch(/^Many come back at once/);
    expect(words(3, false)).toBe("Everyone who comes is let in.");
    expect(words(0, false)).toBe("Nobody waits to be let in.");
  });

  it("shows at a glance what is worst", () => {
    expect(doorOf(arrivals(0, false, false))).toEqual({ tone: "ok", says: "Let in" });
    expect(doorOf(arrivals(0, true, false))).toEqual({ tone: "warn", says: "Held back" });
    expect(doorOf(arrivals(0, true, true))).toEqual({ tone: "crit", says: "No room" });
  });

  it("says that there is no room, whoever waits", () => {
    expect(words(0, true, true)).toMatch(/^There is no room for more agents/);
    expect(words(3, false, true)).toMatch(/^There is no room for more agents/);
  });
});

describe("historyWords", () => {
  const now = Date.parse("2026-03-12T10:00:00Z");
  const words = (hours_waiting: number, oldest_waiting: string | null) =>
    historyWords({ looked_at: "2026-03-12T09:58:00Z", hours_waiting, oldest_waiting }, now);

  it("says how much waits, and for how long", () => {
    expect(words(0, null)).toBe("All hours that are over are packed.");
    expect(words(1, "2026-03-12T08:00:00Z")).toBe(
      "1 hour of a machine waits to be packed, the oldest from 2 h ago.",
    );
    expect(words(1_204, null)).toBe("1,204 hours of machines wait to be packed.");
  });

  it("claims nothing before the job has looked", () => {
    const none = { looked_at: null, hours_waiting: 0, oldest_waiting: null };
    expect(historyWords(none, now)).toBe("Nothing has been packed yet.");
  });
});
