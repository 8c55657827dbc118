import type { Connection, ConnectionEnd } from "../../api/types";
import { formatPercent } from "../../lib/format";

/** The time between two sessions, or since the last one. */
export interface Absence {
  from: string;
  /** Absent while it lasts. */
  to: string | null;
  why: string;
}

/** A session, and what came after it. */
export interface Stay {
  session: Connection;
  /** Absent while the session lasts, and when nobody knows how it ended. */
  absence: Absence | null;
}

/** Sessions, the newest first, each with the time offline that followed it. */
export function staysOf(sessions: readonly Connection[]): Stay[] {
  return sessions.map((session, n) => {
    const next = sessions[n - 1] ?? null;
    const from = session.disconnected_at;
    if (!from) return { session, absence: null };
    // Another session may have begun before this one was known to be over.
    const to = next && (isBefore(next.connected_at, from) ? from : next.connected_at);
    return { session, absence: { from, to, why: whyOffline(session, next) } };
  });
}

function isBefore(one: string, other: string): boolean {
  return Date.parse(one) < Date.parse(other);
}

type Before = Pick<Connection, "reason" | "agent_version">;
type After = Pick<Connection, "restarted_before" | "agent_version">;

/** Why a machine was offline: how the session before ended, and what the one after it tells, where there is one. */
export function whyOffline(before: Before, after: After | null): string {
  const restarted = after?.restarted_before ?? null;
  const version =
    after && after.agent_version !== before.agent_version ? after.agent_version : null;
  switch (before.reason) {
    case "agent_stopped":
    case "link_lost":
    case "silent":
      return ofTheMachine(before.reason, restarted, version, after === null);
    default: {
      const cause = CAUSES[before.reason ?? ""] ?? "Nobody noted why.";
      const meanwhile = [
        ...(restarted ? ["the machine was restarted"] : []),
        ...(version ? [`the agent became ${version}`] : []),
      ];
      return meanwhile.length ? `${cause} Meanwhile ${meanwhile.join(", and ")}.` : cause;
    }
  }
}

type OfTheMachine = Extract<ConnectionEnd, "agent_stopped" | "link_lost" | "silent">;

/** Sentences for what has its cause on the machine's side, told apart by what is known afterwards. */
function ofTheMachine(
  reason: OfTheMachine,
  restarted: boolean | null,
  version: string | null,
  lasts: boolean,
): string {
  const stopped = reason === "agent_stopped";
  if (restarted) {
    return version
      ? `The machine was restarted or off, and the agent became ${version}.`
      : "The machine was restarted or off.";
  }
  if (version) {
    return stopped
      ? `The agent became ${version}.`
      : `The connection was lost, and the agent became ${version}.`;
  }
  if (lasts) {
    return stopped
      ? "The agent was stopped, or the machine shut down."
      : reason === "silent"
        ? "Nothing is heard of it: the connection was lost, or the machine is off or hangs."
        : "The connection was lost, or the machine went down.";
  }
  const ranOn = restarted === false ? "; the machine ran on." : ".";
  return stopped
    ? `The agent was stopped${ranOn}`
    : reason === "silent"
      ? `Nothing was heard of it${ranOn}`
      : `The connection was lost${ranOn}`;
}

const CAUSES: Record<string, string> = {
  server_stopping: "The server was stopped or restarted.",
  server_lost: "The server was lost.",
  replaced: "The agent connected anew before its connection was known to be over.",
  revoked: "The agent was deleted, given another key, or set aside.",
  protocol_error: "The server disconnected it: it broke a limit or the protocol.",
  too_slow: "The server disconnected it: it did not take its messages in time.",
  failed: "The server could not store what it said.",
} satisfies Record<Exclude<ConnectionEnd, OfTheMachine>, string>;

export interface TimeOnline {
  /** When the oldest of the sessions began. */
  from: string;
  /** Of the time since then, between 0 and 1. */
  share: number;
  offlineSeconds: number;
}

/** How much of the time since the first of the sessions, which come newest first, the machine was online. */
export function timeOnline(sessions: readonly Connection[], now: number): TimeOnline | null {
  const first = sessions.at(-1);
  if (!first) return null;
  const from = Date.parse(first.connected_at);
  let until = from;
  let online = 0;
  for (let n = sessions.length - 1; n >= 0; n--) {
    const session = sessions[n];
    if (!session) continue;
    const start = Date.parse(session.connected_at);
    // Of one whose end nobody noted, the next one's beginning is the end.
    const end = Date.parse(session.disconnected_at ?? sessions[n - 1]?.connected_at ?? "") || now;
    online += Math.max(0, end - Math.max(start, until));
    until = Math.max(until, start, end);
  }
  // The server's clock may run a little ahead of this one.
  const whole = Math.max(now, until) - from;
  if (whole <= 0) return null;
  return {
    from: first.connected_at,
    share: online / whole,
    offlineSeconds: (whole - online) / 1000,
  };
}

/** `99.98 %`: rounded down, so that only what has no gap is whole. */
export function formatShare(share: number): string {
  const hundredths = Math.floor(share * 10_000 + 1e-6);
  return formatPercent(hundredths / 100, hundredths === 10_000 ? 0 : 2);
}
