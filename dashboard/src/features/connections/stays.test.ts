import { describe, expect, it } from "vitest";
import type { Connection } from "../../api/types";
import { formatShare, staysOf, timeOnline, whyOffline } from "./stays";

const at = (time: string) => `2026-03-12T${time}:00Z`;
const session = (from: string, to: string | null, more: Partial<Connection> = {}): Connection => ({
  number: 1,
  connected_at: at(from),
  disconnected_at: to && at(to),
  reason: to ? "link_lost" : null,
  agent_version: "0.1.0",
  address: "203.0.113.7",
  restarted_before: false,
  ...more,
});

describe("whyOffline", () => {
  const why = (
    reason: Connection["reason"],
    restarted_before: boolean | null = false,
    agent_version = "0.1.0",
  ) => whyOffline({ reason, agent_version: "0.1.0" }, { restarted_before, agent_version });

  it.each([
    ["agent_stopped", true, "The machine was restarted or off."],
    ["link_lost", true, "The machine was restarted or off."],
    ["silent", true, "The machine was restarted or off."],
    ["agent_stopped", false, "The agent was stopped; the machine ran on."],
    ["link_lost", false, "The connection was lost; the machine ran on."],
    ["silent", false, "Nothing was heard of it; the machine ran on."],
    ["agent_stopped", null, "The agent was stopped."],
    ["link_lost", null, "The connection was lost."],
    ["server_stopping", false, "The server was stopped or restarted."],
    ["server_lost", null, "The server was lost."],
    [
      "server_stopping",
      true,
      "The server was stopped or restarted. Meanwhile the machine was restarted.",
    ],
    ["revoked", false, "The agent was deleted, given another key, or set aside."],
    ["too_slow", false, "The server disconnected it: it did not take its messages in time."],
  ] as const)("%s, restarted: %s", (reason, restarted, sentence) => {
    expect(why(reason, restarted)).toBe(sentence);
  });

  it("names the version that the agent became", () => {
    expect(why("agent_stopped", false, "0.2.0")).toBe("The agent became 0.2.0.");
    expect(why("link_lost", false, "0.2.0")).toBe(
      "The connection was lost, and the agent became 0.2.0.",
    );
    expect(why("link_lost", true, "0.2.0")).toBe(
      "The machine was restarted or off, and the agent became 0.2.0.",
    );
    expect(why("server_lost", true, "0.2.0")).toBe(
      "The server was lost. Meanwhile the machine was restarted, and the agent became 0.2.0.",
    );
  });

  it("does not claim to know what happens to a machine that is still away", () => {
    const still = (reason: Connection["reason"]) =>
      whyOffline({ reason, agent_version: "0.1.0" }, null);
    expect(still("agent_stopped")).toBe("The agent was stopped, or the machine shut down.");
    expect(still("link_lost")).toBe("The connection was lost, or the machine went down.");
    expect(still("server_stopping")).toBe("The server was stopped or restarted.");
  });

  it("says nothing of a reason that this version does not know", () => {
    expect(why(null)).toBe("Nobody noted why.");
    expect(why("moved_away" as Connection["reason"])).toBe("Nobody noted why.");
  });
});

describe("staysOf", () => {
  it("puts the time offline between two sessions", () => {
    const [newest, oldest] = staysOf([
      session("09:00", null, { restarted_before: true }),
      session("07:00", "08:30"),
    ]);
    expect(newest?.absence).toBeNull();
    expect(oldest?.absence).toEqual({
      from: at("08:30"),
      to: at("09:00"),
      why: "The machine was restarted or off.",
    });
  });

  it("leaves the last one open while the machine is away", () => {
    expect(staysOf([session("07:00", "08:30")])[0]?.absence).toMatchObject({
      from: at("08:30"),
      to: null,
    });
  });

  it("knows no time offline where sessions overlap, or nobody noted the end", () => {
    const stays = staysOf([
      session("09:00", null),
      session("08:00", null),
      session("07:00", "08:10", { reason: "replaced" }),
    ]);
    expect(stays[1]?.absence).toBeNull();
    expect(stays[2]?.absence).toMatchObject({ from: at("08:10"), to: at("08:10") });
  });
});

describe("timeOnline", () => {
  const now = Date.parse(at("10:00"));
  const share = (sessions: Connection[]) => timeOnline(sessions, now)?.share;

  it("is the part of the time since the first session that sessions cover", () => {
    expect(timeOnline([session("09:00", null), session("06:00", "08:00")], now)).toEqual({
      from: at("06:00"),
      share: 0.75,
      offlineSeconds: 3600,
    });
    expect(share([session("06:00", "08:00")])).toBe(0.5);
  });

  it("counts time that two sessions cover once", () => {
    expect(share([session("08:00", null), session("06:00", "09:00")])).toBe(1);
    expect(share([session("07:00", "07:30"), session("06:00", "08:00")])).toBe(0.5);
  });

  it("ends a session whose end nobody noted with the next one", () => {
    expect(share([session("09:00", "10:00"), session("08:00", null)])).toBe(1);
  });

  it("is unknown without a session or any time", () => {
    expect(timeOnline([], now)).toBeNull();
    expect(timeOnline([session("10:00", null)], now)).toBeNull();
  });

  it("is not more than all where this clock is behind", () => {
    expect(share([session("10:01", "10:02"), session("10:00", "10:01")])).toBe(1);
  });
});

describe("formatShare", () => {
  it("says 100 only of what has no gap", () => {
    expect(formatShare(1)).toBe("100\u2009%");
    expect(formatShare(0.999999)).toBe("99.99\u2009%");
    expect(formatShare(0.75)).toBe("75.00\u2009%");
    expect(formatShare(0.0005)).toBe("0.05\u2009%");
  });
});
