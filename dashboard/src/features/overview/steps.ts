import type { Overview } from "../../api/types";

export interface Step {
  id: "machine" | "command" | "colleague" | "client";
  done: boolean;
}

/** What a new organisation does first, and what of it is done. `users` is null for those who may not see them. */
export function firstSteps(overview: Overview, users: number | null): Step[] {
  return [
    { id: "machine", done: overview.agents.total > 0 },
    { id: "command", done: overview.recent_commands.length > 0 },
    ...(users === null ? [] : [{ id: "colleague" as const, done: users > 1 }]),
    { id: "client", done: overview.clients_total > 1 },
  ];
}
