import type { Agent, AgentStatus } from "../../api/types";
import { Status, type Tone } from "../../ui/badge";

const TONES: Record<AgentStatus, Tone> = {
  online: "ok",
  offline: "idle",
  pending: "warn",
  retired: "idle",
};
const NAMES: Record<AgentStatus, string> = {
  online: "Online",
  offline: "Offline",
  pending: "Pending",
  retired: "Retired",
};

/** What a list of machines can be narrowed to. */
export const AGENT_STATUSES = [
  { value: "", label: "Any status" },
  { value: "online", label: "Online" },
  { value: "offline", label: "Offline" },
  { value: "pending", label: "Pending" },
  { value: "retired", label: "Retired" },
] as const;

export function AgentStatusLabel({ agent }: { agent: Pick<Agent, "status"> }) {
  return (
    <Status tone={TONES[agent.status] ?? "idle"}>{NAMES[agent.status] ?? agent.status}</Status>
  );
}
