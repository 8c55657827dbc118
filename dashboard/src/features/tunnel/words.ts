import type { ChannelKind, CloseReason } from "./wire";

export const KIND_NAMES: Record<ChannelKind, string> = {
  terminal: "Terminal",
  files: "Files",
  processes: "Processes",
  services: "Services",
  registry: "Registry",
  events: "Event log",
  forward: "Forwarded port",
};

/** Why a session is over, as a sentence for whoever was in it. */
export const CLOSED_SENTENCES: Record<CloseReason, string> = {
  closed_by_tech: "You ended it.",
  closed_by_admin: "An administrator ended it.",
  idle: "Nothing was typed or asked for a while.",
  too_long: "It was open as long as a session may be.",
  agent_lost: "The machine was away for too long.",
  right_lost: "You may no longer have sessions with this machine.",
  recording_failed: "It could not be recorded any more, and nothing happens unrecorded.",
  protocol_error: "One of the two sides said something that the other does not understand.",
  unused: "Nobody was in it for five minutes.",
  server_stopping: "The server was stopped.",
  replaced: "It goes on in another window.",
  other: "The server closed it.",
};

const REFUSED_SENTENCES: Record<string, string> = {
  consent_unavailable:
    "The policy wants whoever sits at the machine to be asked, and its agent cannot ask yet.",
  consent_denied: "Whoever sits at the machine said no.",
  too_many_sessions: "The machine has as many sessions as it keeps.",
  unsupported: "The agent of this machine is too old for sessions. Update it first.",
};

/** Why a machine has no session, as a sentence. */
export const refusedSentence = (reason: string, detail: string) =>
  REFUSED_SENTENCES[reason] ?? (detail || "The machine refused it.");

const CLOSED_WORDS: Record<string, string> = {
  closed_by_tech: "Ended by its tech",
  closed_by_admin: "Ended by an administrator",
  idle: "Ended as idle",
  too_long: "Ended at its greatest length",
  agent_lost: "The machine was away",
  right_lost: "The right was taken away",
  recording_failed: "Could not be recorded",
  protocol_error: "A fault in what was said",
  unused: "Nobody was in it",
};

/** Why a session is over, in a list. */
export const closedWords = (reason: string | null) => CLOSED_WORDS[reason ?? ""] ?? "Over";
