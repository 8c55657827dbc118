// The shapes of the server's API, until they are generated from its OpenAPI document.

export type Role = "owner" | "admin" | "tech" | "read_only";

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
  | "manage_partner"
  | "use_tunnel"
  | "manage_platform";

export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: string;
  request_id: string;
  errors?: { field: string; code: string; message: string }[];
}

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
  total: number;
}

export interface User {
  id: string;
  email: string;
  name: string;
  is_platform_admin: boolean;
  status: string;
  role: Role | null;
  partner_id: string | null;
  partner_name: string | null;
  created_at: string;
  last_sign_in_at: string | null;
}

export interface SessionInfo {
  session_id: string;
  user: User;
  partner: { id: string; name: string } | null;
  partners: { id: string; name: string; role: Role }[];
  role: Role | null;
  permissions: Permission[];
  confined: boolean;
  csrf_token: string;
  expires_at: string;
  server_version: string;
}

export interface Session {
  id: string;
  kind: "dashboard" | "api";
  created_at: string;
  last_used_at: string;
  expires_at: string;
  ip: string | null;
  user_agent: string | null;
  current: boolean;
}

export type AgentStatus = "online" | "offline" | "pending";
export type OsType = "linux" | "windows" | "macos";

export interface Agent {
  id: string;
  hostname: string;
  os_type: OsType;
  os_version: string;
  arch: string;
  agent_version: string;
  protocol_version: string;
  status: AgentStatus;
  last_seen: string | null;
  is_connected: boolean;
  site_id: string;
  site_name: string;
  client_id: string;
  client_name: string;
  enrolled_at: string;
  machine_uid_source: string;
  public_ip: string | null;
  logged_in_user: string | null;
  uptime_seconds: number | null;
  cpu_percent: number | null;
  memory_percent: number | null;
  disk_percent: number | null;
  duplicate_hostname: boolean;
  pending_reason: string | null;
  open_alerts: number;
}

export interface Hardware {
  cpu_model: string | null;
  cpu_cores: number | null;
  memory_bytes: number | null;
  manufacturer: string | null;
  model: string | null;
  serial: string | null;
  kernel: string | null;
}

export interface NetworkInterface {
  name: string;
  mac: string | null;
  up: boolean;
  ipv4: string[];
  ipv6: string[];
  subnets: string[];
}

export interface NetworkState {
  interfaces: NetworkInterface[];
  gateway: string | null;
  dns: string[];
  received_at: string;
}

export interface AgentDetail {
  agent: Agent;
  hardware: Hardware | null;
  network: NetworkState | null;
  machine_uid: string | null;
  board_serial: string | null;
  disk_serial: string | null;
  boot_time: string | null;
}

export interface MetricPoint {
  t: string;
  cpu_percent: number | null;
  memory_percent: number | null;
  disk_percent: number | null;
  load_1: number | null;
  rx_bytes_per_second: number | null;
  tx_bytes_per_second: number | null;
}

export interface MetricSeries {
  from: string;
  to: string;
  resolution_seconds: number;
  points: MetricPoint[];
}

export interface Process {
  pid: number;
  name: string;
  user: string | null;
  cpu_percent: number;
  memory_bytes: number;
  command_line: string | null;
}

export interface DiskUsage {
  mount: string;
  device: string | null;
  file_system: string | null;
  used_bytes: number;
  total_bytes: number;
}

export interface Sample {
  t: string;
  cpu_percent: number;
  cpu_count: number;
  memory_used_bytes: number;
  memory_total_bytes: number;
  swap_used_bytes: number;
  swap_total_bytes: number;
  load_1: number | null;
  load_5: number | null;
  load_15: number | null;
  uptime_seconds: number;
  boot_time: string | null;
  logged_in_user: string | null;
  user_idle_seconds: number | null;
  public_ip: string | null;
  rx_bytes: number;
  tx_bytes: number;
  interval_seconds: number;
  disks: DiskUsage[];
  top_cpu: Process[];
  top_memory: Process[];
  process_count: number;
}

export type CommandType = "shell" | "powershell" | "python" | "script" | "ai_task";
export type CommandStatus =
  | "queued"
  | "sent"
  | "running"
  | "completed"
  | "failed"
  | "timeout"
  | "cancelled"
  | "interrupted"
  | "expired";

export interface Command {
  id: string;
  agent_id: string;
  agent_hostname: string;
  command_type: CommandType;
  command: string;
  context: "system" | "user_session";
  interpreter: string | null;
  elevated: boolean;
  working_directory: string | null;
  timeout_seconds: number;
  status: CommandStatus;
  exit_code: number | null;
  stdout: string;
  stderr: string;
  stdout_bytes: number;
  stderr_bytes: number;
  truncated: boolean;
  error_code: string | null;
  error: string | null;
  created_by: string | null;
  created_by_name: string | null;
  created_at: string;
  sent_at: string | null;
  started_at: string | null;
  ended_at: string | null;
  expires_at: string | null;
  cancel_requested_at: string | null;
}

export interface CommandRequest {
  command_type: CommandType;
  command: string;
  context?: "system" | "user_session";
  timeout_seconds?: number;
  elevated?: boolean;
  interpreter?: string;
  working_directory?: string;
  environment?: Record<string, string>;
  stdin?: string;
  expires_in_seconds?: number;
}

export interface OutputChunk {
  seq: number;
  stream: "stdout" | "stderr";
  text: string;
}

export type Severity = "info" | "warning" | "critical";
export type AlertStatus = "open" | "acknowledged" | "resolved";

export interface Alert {
  id: string;
  kind: string;
  severity: Severity;
  title: string;
  detail: Record<string, unknown>;
  status: AlertStatus;
  agent_id: string | null;
  agent_hostname: string | null;
  site_id: string | null;
  client_id: string | null;
  raised_at: string;
  last_raised_at: string;
  count: number;
  acknowledged_at: string | null;
  acknowledged_by_name: string | null;
  resolved_at: string | null;
  resolved_by_name: string | null;
}

export interface AuditEntry {
  id: string;
  seq: number;
  at: string;
  actor_kind: string;
  actor_id: string | null;
  actor_name: string | null;
  action: string;
  target_kind: string | null;
  target_id: string | null;
  target_name: string | null;
  detail: Record<string, unknown>;
  ip: string | null;
  request_id: string | null;
}

export interface AuditVerdict {
  ok: boolean;
  entries: number;
  head: string;
  first_bad_seq: number | null;
}

export interface PartnerUser {
  id: string;
  email: string;
  name: string;
  role: Role;
  status: "invited" | "active" | "suspended";
  client_ids: string[];
  site_ids: string[];
  created_at: string;
  last_sign_in_at: string | null;
  locked_until: string | null;
}

export interface Invitation {
  url_path: string;
  expires_at: string;
}

export interface Partner {
  id: string;
  name: string;
  retention_days: number;
  created_at: string;
}

export interface Client {
  id: string;
  name: string;
  created_at: string;
  sites_total: number;
  agents_total: number;
  agents_online: number;
}

export interface Site {
  id: string;
  client_id: string;
  client_name: string;
  name: string;
  code: string;
  approval_required: boolean;
  created_at: string;
  agents_total: number;
  agents_online: number;
}

export interface TreeSite {
  id: string;
  name: string;
  code: string;
  agents_total: number;
  agents_online: number;
}

export interface TreeClient {
  id: string;
  name: string;
  sites: TreeSite[];
}

export interface Tree {
  partner: { id: string; name: string };
  clients: TreeClient[];
}

export interface EnrollmentKey {
  id: string;
  site_id: string;
  kind: "standing" | "deployment";
  version: number;
  fingerprint: string;
  label: string;
  note: string | null;
  created_at: string;
  created_by_name: string | null;
  expires_at: string | null;
  max_uses: number | null;
  use_count: number;
  revoked_at: string | null;
  status: "active" | "revoked" | "expired" | "used_up";
}

export interface KeyOnce {
  key: EnrollmentKey;
  secret: string;
  install: { linux: string | null };
}

export interface SetupRequest {
  setup_token: string;
  email: string;
  name: string;
  password: string;
  partner_name: string;
  client_name: string;
  site_name: string;
}

export interface SetupResult {
  session: SessionInfo;
  site: { id: string; code: string; name: string };
  client: { id: string; name: string };
  partner: { id: string; name: string };
  enrollment_key: KeyOnce;
}

export interface ServerInfo {
  version: string;
  public_url: string;
  ca_fingerprint: string | null;
  agent_available: boolean;
}

export interface InstallReport {
  id: string;
  stage: string;
  error: string;
  hostname: string | null;
  os_type: string | null;
  agent_version: string | null;
  ip: string | null;
  reported_at: string;
}

export type PolicyScope = "platform" | "partner" | "client" | "site" | "agent";

export interface PolicySettings {
  metrics_interval_seconds?: number | null;
  process_list?: boolean | null;
  public_ip?: boolean | null;
}

export interface Policy {
  settings: PolicySettings;
  updated_at: string | null;
  updated_by_name: string | null;
}

export interface EffectivePolicy {
  fields: {
    name: string;
    value: unknown;
    source: { scope: PolicyScope | "default"; id: string | null; name: string | null };
  }[];
}

export interface Overview {
  agents: { total: number; online: number; offline: number; pending: number };
  alerts: {
    open: number;
    acknowledged: number;
    critical: number;
    warning: number;
    info: number;
  };
  clients_total: number;
  sites_total: number;
  commands: { running: number; queued: number; failed_24h: number };
  attention: Agent[];
  recent_commands: Command[];
  os: { os_type: OsType; count: number }[];
}

export interface SystemStatus {
  version: string;
  uptime_seconds: number;
  connected_agents: number;
  browsers: number;
  database_bytes: number;
  samples_per_minute: number;
  ingest_queue_depth: number;
  pools: { name: string; size: number; idle: number }[];
  started_at: string;
}

export type AgentSort =
  | "hostname"
  | "status"
  | "last_seen"
  | "os"
  | "client"
  | "site"
  | "cpu"
  | "memory"
  | "disk";
