import type { QueryKey } from "@tanstack/react-query";

/** What the live socket may name in an invalidation. */
export type InvalidationKind =
  | "agent"
  | "client"
  | "site"
  | "command"
  | "alert"
  | "user"
  | "session"
  | "key"
  | "install_report"
  | "policy"
  | "agent_log"
  | "agent_update"
  | "rollout"
  | "partner"
  | "tunnel"
  | "audit";

/** The first part of every query key; one word per kind of thing the server holds. */
export const keys = {
  session: ["session"] as const,
  ownSessions: ["sessions"] as const,
  overview: ["overview"] as const,
  tree: ["tree"] as const,
  partner: ["partner"] as const,
  partners: ["partners"] as const,
  server: ["server"] as const,
  system: ["system"] as const,
  nodes: ["nodes"] as const,
  followMe: ["follow-me"] as const,
  clients: ["clients"] as const,
  client: (id: string) => ["clients", id] as const,
  sites: ["sites"] as const,
  site: (id: string) => ["sites", id] as const,
  enrollmentKeys: (siteId: string) => ["enrollment-keys", siteId] as const,
  installReports: (siteId: string) => ["install-reports", siteId] as const,
  agents: ["agents"] as const,
  agent: (id: string) => ["agent", id] as const,
  agentSamples: (id: string) => ["samples", id] as const,
  agentMetrics: (id: string) => ["metrics", id] as const,
  agentConnections: (id: string) => ["agent-connections", id] as const,
  agentPolicy: (id: string) => ["effective-policy", id] as const,
  agentLogs: (agentId: string) => ["agent-logs", agentId] as const,
  agentLog: (id: string) => ["agent-log", id] as const,
  agentCrashes: (agentId: string) => ["agent-crashes", agentId] as const,
  agentCrash: (id: string) => ["agent-crash", id] as const,
  agentUpdates: (agentId: string) => ["agent-updates", agentId] as const,
  agentUpdateState: (agentId: string) => ["agent-update-state", agentId] as const,
  releases: ["releases"] as const,
  versions: ["versions"] as const,
  protocols: ["protocols"] as const,
  rollouts: ["rollouts"] as const,
  commands: ["commands"] as const,
  command: (id: string) => ["command", id] as const,
  commandOutput: (id: string) => ["command-output", id] as const,
  alerts: ["alerts"] as const,
  users: ["users"] as const,
  userSessions: (id: string) => ["user-sessions", id] as const,
  audit: ["audit"] as const,
  policies: ["policies"] as const,
  /** What a machine says in a session; gone with it. */
  tunnel: (sessionId: string) => ["tunnel", sessionId] as const,
  tunnels: ["tunnels"] as const,
  recordings: ["recordings"] as const,
  recording: (sessionId: string) => ["recording", sessionId] as const,
};

/** Which cached queries an invalidation makes stale; `agentId` is the machine it concerns, where it concerns one. */
export function staleKeys(
  kind: InvalidationKind,
  id: string | null,
  agentId: string | null = null,
): QueryKey[] {
  switch (kind) {
    case "agent":
      return [
        keys.agents,
        keys.overview,
        keys.tree,
        keys.clients,
        keys.sites,
        ...(id ? [keys.agent(id), keys.agentConnections(id)] : []),
      ];
    case "client":
    case "site":
      return [keys.tree, keys.clients, keys.sites, keys.overview];
    case "command":
      return [keys.commands, keys.overview, ...(id ? [keys.command(id)] : [])];
    case "alert":
      return [keys.alerts, keys.overview, keys.agents];
    case "user":
      return [keys.users, keys.session];
    case "session":
      return [keys.ownSessions, ["user-sessions"], keys.session];
    case "key":
      return [["enrollment-keys"]];
    case "install_report":
      return [["install-reports"]];
    case "policy":
      return [keys.policies, ["effective-policy"]];
    case "agent_log":
      return agentId
        ? [keys.agentLogs(agentId), keys.agentCrashes(agentId)]
        : [["agent-logs"], ["agent-crashes"]];
    case "agent_update":
      return agentId
        ? [keys.agentUpdates(agentId), keys.agentUpdateState(agentId)]
        : [["agent-updates"], ["agent-update-state"]];
    case "rollout":
      return [keys.rollouts];
    case "partner":
      return [keys.partner, keys.partners, keys.session, keys.tree];
    case "tunnel":
      return [keys.tunnels];
    case "audit":
      return [keys.audit];
  }
}
