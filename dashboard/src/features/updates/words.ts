import type { AgentUpdate, Rollout } from "../../api/types";
import type { Tone } from "../../ui/badge";

export const UPDATE_STATUS: Record<AgentUpdate["status"], { label: string; tone: Tone }> = {
  ordered: { label: "Waiting for the machine", tone: "idle" },
  downloading: { label: "Downloading", tone: "accent" },
  ready: { label: "Ready, waiting for commands to end", tone: "accent" },
  trying: { label: "Being tried", tone: "accent" },
  confirmed: { label: "Confirmed", tone: "ok" },
  rolled_back: { label: "Rolled back", tone: "crit" },
  failed: { label: "Failed", tone: "crit" },
  expired: { label: "Expired", tone: "warn" },
  superseded: { label: "Taken back", tone: "idle" },
};

export const ROLLOUT_STATE: Record<Rollout["state"], { label: string; tone: Tone }> = {
  running: { label: "Running", tone: "accent" },
  halted: { label: "Halted", tone: "warn" },
  rolling_back: { label: "Taken back", tone: "crit" },
  done: { label: "Done", tone: "ok" },
};

/** Rings, from the few that find out to everyone. */
export const RINGS = ["First few", "One in ten", "Half", "Everyone"] as const;

export type RolloutStep = "promote" | "halt" | "resume" | "roll_back";

/** What can be done with a rollout that stands like this. */
export function rolloutSteps({ state, ring }: Pick<Rollout, "state" | "ring">): RolloutStep[] {
  switch (state) {
    case "running":
      return ring < RINGS.length - 1 ? ["promote", "halt", "roll_back"] : ["halt", "roll_back"];
    case "halted":
      return ["resume", "roll_back"];
    case "rolling_back":
      return ["resume"];
    case "done":
      return ["roll_back"];
  }
}

/** Who wanted an update, in a few words. */
export function wantedBy({ origin, ordered_by_name }: AgentUpdate): string {
  switch (origin) {
    case "person":
      return ordered_by_name ?? "someone";
    case "machine":
      return "the machine itself";
    case "rollout":
      return "a rollout";
    case "policy":
      return "policy";
  }
}
