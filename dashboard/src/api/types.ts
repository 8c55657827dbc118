// The server's shapes by the names the pages use. All come from the generated document.
import type { components, paths } from "./schema";

type Schemas = components["schemas"];

/**
 * What the server sends. It sends every property, null where there is nothing; the generator marks those that may
 * be null as optional too, which this takes back. An object whose fields the document leaves open may hold anything.
 */
export type Sent<T> = T extends readonly (infer Item)[]
  ? Sent<Item>[]
  : T extends object
    ? string extends keyof T
      ? Record<string, unknown>
      : { [Key in keyof T]-?: Sent<T[Key]> }
    : T;

/** One page of a list. */
export interface Page<T> {
  items: T[];
  next_cursor: string | null;
  total: number;
}

export type Problem = Schemas["Problem"];

export type Role = Schemas["Role"];
export type SessionInfo = Sent<Schemas["SessionInfo"]>;
export type Session = Sent<Schemas["Session"]>;
export type Invitation = Sent<Schemas["Invitation"]>;
export type InvitationInfo = Sent<Schemas["InvitationInfo"]>;
export type PartnerUser = Sent<Schemas["PartnerUser"]>;
export type SetupResult = Sent<Schemas["SetupAnswer"]>;

export type Partner = Sent<Schemas["Partner"]>;
export type Client = Sent<Schemas["Client"]>;
export type Site = Sent<Schemas["Site"]>;
export type TreeClient = Sent<Schemas["TreeClient"]>;
export type TreeSite = Sent<Schemas["TreeSite"]>;

export type Agent = Sent<Schemas["Agent"]>;
export type FollowStatus = Sent<Schemas["FollowStatus"]>;
export type AgentUninstall = Sent<Schemas["AgentUninstall"]>;
export type AgentDetail = Sent<Schemas["AgentDetail"]>;
export type AgentVirtualization = Sent<Schemas["AgentVirtualization"]>;
export type WaitingMachine = Sent<Schemas["WaitingMachine"]>;
export type Decision = Schemas["Decision"];
export type Outcome = Sent<Schemas["Outcome"]>;
export type Duplicate = Sent<Schemas["Duplicate"]>;
export type MergeKey = Schemas["MergeKey"];
export type AgentStatus = Schemas["AgentStatus"];
export type AgentSort = NonNullable<
  NonNullable<paths["/api/v1/agents"]["get"]["parameters"]["query"]>["sort"]
>;
export type NetworkState = Sent<Schemas["AgentNetwork"]>;
export type MetricSeries = Sent<Schemas["Chart"]>;
export type MetricPoint = Sent<Schemas["Point"]>;
export type MetricGap = Sent<Schemas["MetricGap"]>;
export type Sample = Sent<Schemas["Sample"]>;
export type Process = Sent<Schemas["Process"]>;
export type Sensor = Sent<Schemas["Sensor"]>;
export type SensorKind = Schemas["SensorKind"];
export type SensorState = Schemas["SensorState"];

export type Connection = Sent<Schemas["Connection"]>;
export type ConnectionEnd = Schemas["ConnectionEnd"];

export type AgentLog = Sent<Schemas["AgentLog"]>;
export type AgentLogStatus = Schemas["AgentLogStatus"];
export type AgentCrash = Sent<Schemas["AgentCrash"]>;
export type AgentCrashCause = Schemas["AgentCrashCause"];

export type AgentUpdate = Sent<Schemas["AgentUpdate"]>;
export type UpdateState = Sent<Schemas["UpdateState"]>;
export type Published = Sent<Schemas["Published"]>;
export type Rollout = Sent<Schemas["Rollout"]>;
export type VersionCount = Sent<Schemas["VersionCount"]>;
export type ProtocolCount = Sent<Schemas["ProtocolCount"]>;

export type Command = Sent<Schemas["Command"]>;
export type CommandType = Schemas["CommandType"];
export type CommandStatus = Schemas["CommandStatus"];
export type CommandRequest = Schemas["CommandInput"];

export type Alert = Sent<Schemas["Alert"]>;
export type AlertStatus = Schemas["AlertStatus"];
export type Severity = Schemas["Severity"];

export type EnrollmentKey = Sent<Schemas["Key"]>;
export type KeyOnce = Sent<Schemas["KeyOnce"]>;
export type InstallerRequest = Schemas["InstallerInput"];
export type Package = Sent<Schemas["Package"]>;
export type ServerInfo = Sent<Schemas["ServerInfo"]>;
export type InstallReport = Sent<Schemas["InstallReport"]>;

export type Policy = Sent<Schemas["Policy"]>;
export type PolicyScope = Exclude<Schemas["SourceLevel"], "default">;
export type Overview = Sent<Schemas["Overview"]>;
export type SystemStatus = Sent<Schemas["SystemStatus"]>;
export type StorageKind = Schemas["StorageKind"];
export type Node = Sent<Schemas["Node"]>;
export type TunnelSession = Sent<Schemas["TunnelSession"]>;
export type Recording = Sent<Schemas["Recording"]>;
export type RecordingDetail = Sent<Schemas["RecordingDetail"]>;
export type RecordedEvent = Sent<Schemas["RecordedEvent"]>;
export type AuditEntry = Sent<Schemas["AuditEntry"]>;
export type AuditVerdict = Sent<Schemas["Verification"]>;

/** What a role may allow; a session names those it has. */
export type Permission =
  | "read_fleet"
  | "run_commands"
  | "manage_alerts"
  | "manage_agents"
  | "manage_tenancy"
  | "read_keys"
  | "manage_keys"
  | "manage_policies"
  | "read_users"
  | "manage_users"
  | "read_audit"
  | "read_recordings"
  | "manage_partner"
  | "use_tunnel"
  | "end_tunnels"
  | "read_agent_logs"
  | "read_rollouts"
  | "manage_rollouts"
  | "manage_platform";
