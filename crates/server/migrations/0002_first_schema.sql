-- The first schema. `tenant_id` is the partner. Foreign keys carry the tenant along, so that a row can never
-- point into another partner's data even if the application were wrong.

-- Tenancy -------------------------------------------------------------------------------------------------

CREATE TABLE partners (
  id uuid PRIMARY KEY,
  name text NOT NULL CONSTRAINT partners_name_length CHECK (char_length(name) BETWEEN 1 AND 120),
  status text NOT NULL DEFAULT 'active' CONSTRAINT partners_status CHECK (status IN ('active', 'suspended')),
  retention_days smallint NOT NULL DEFAULT 90
    CONSTRAINT partners_retention CHECK (retention_days IN (30, 90, 365, 1095)),
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX partners_name_key ON partners (lower(name));

CREATE TABLE clients (
  id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL REFERENCES partners (id),
  name text NOT NULL CONSTRAINT clients_name_length CHECK (char_length(name) BETWEEN 1 AND 120),
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT clients_tenant_key UNIQUE (tenant_id, id)
);
CREATE UNIQUE INDEX clients_name_key ON clients (tenant_id, lower(name));

CREATE TABLE sites (
  id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL REFERENCES partners (id),
  client_id uuid NOT NULL,
  name text NOT NULL CONSTRAINT sites_name_length CHECK (char_length(name) BETWEEN 1 AND 120),
  -- Given with an enrollment, so that a key is looked up without a tenant. Not a secret.
  code text NOT NULL CONSTRAINT sites_code_key UNIQUE,
  approval_required boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT sites_client_fk FOREIGN KEY (tenant_id, client_id) REFERENCES clients (tenant_id, id),
  CONSTRAINT sites_tenant_key UNIQUE (tenant_id, client_id, id)
);
CREATE UNIQUE INDEX sites_name_key ON sites (client_id, lower(name));

-- People --------------------------------------------------------------------------------------------------

CREATE TABLE users (
  id uuid PRIMARY KEY,
  email text NOT NULL CONSTRAINT users_email_length CHECK (char_length(email) BETWEEN 3 AND 254),
  name text NOT NULL CONSTRAINT users_name_length CHECK (char_length(name) BETWEEN 1 AND 120),
  -- Argon2id PHC string; absent until an invitation is accepted.
  password_hash text,
  is_platform_admin boolean NOT NULL DEFAULT false,
  status text NOT NULL CONSTRAINT users_status CHECK (status IN ('invited', 'active', 'suspended')),
  created_at timestamptz NOT NULL DEFAULT now(),
  last_sign_in_at timestamptz
);
CREATE UNIQUE INDEX users_email_key ON users (lower(email));

CREATE TABLE memberships (
  id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL REFERENCES partners (id),
  user_id uuid NOT NULL REFERENCES users (id),
  role text NOT NULL CONSTRAINT memberships_role CHECK (role IN ('owner', 'admin', 'tech', 'read_only')),
  status text NOT NULL DEFAULT 'active' CONSTRAINT memberships_status CHECK (status IN ('active', 'suspended')),
  -- Empty lists: the whole partner. Otherwise only these.
  client_ids uuid[] NOT NULL DEFAULT '{}',
  site_ids uuid[] NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT memberships_person_key UNIQUE (tenant_id, user_id)
);
CREATE INDEX memberships_user ON memberships (user_id);

CREATE TABLE sessions (
  id uuid PRIMARY KEY,
  user_id uuid NOT NULL REFERENCES users (id),
  -- The partner the session acts in; absent for a platform admin without one.
  tenant_id uuid REFERENCES partners (id),
  kind text NOT NULL CONSTRAINT sessions_kind CHECK (kind IN ('dashboard', 'api')),
  token_digest bytea NOT NULL CONSTRAINT sessions_token_key UNIQUE,
  ip inet,
  user_agent text,
  created_at timestamptz NOT NULL DEFAULT now(),
  last_used_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  revoked_at timestamptz
);
CREATE INDEX sessions_user ON sessions (user_id, created_at DESC);

CREATE TABLE invitations (
  id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL REFERENCES partners (id),
  user_id uuid NOT NULL REFERENCES users (id),
  token_digest bytea NOT NULL CONSTRAINT invitations_token_key UNIQUE,
  created_by uuid REFERENCES users (id),
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  used_at timestamptz
);
CREATE INDEX invitations_user ON invitations (user_id);

-- Single-use tickets that let a browser's WebSocket in; seconds long.
CREATE TABLE live_tickets (
  token_digest bytea PRIMARY KEY,
  session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  expires_at timestamptz NOT NULL
);

-- One-time setup token: at most one row, gone after setup.
CREATE TABLE setup_tokens (
  only_one boolean PRIMARY KEY DEFAULT true CONSTRAINT setup_tokens_only_one CHECK (only_one),
  token_digest bytea NOT NULL,
  expires_at timestamptz NOT NULL
);

-- Failed sign-ins by account and by address. The key is a digest: no address list to steal.
CREATE TABLE auth_throttle (
  key bytea PRIMARY KEY,
  failures integer NOT NULL,
  window_started_at timestamptz NOT NULL,
  locked_until timestamptz
);

-- Enrollment and agents ------------------------------------------------------------------------------------

CREATE TABLE enrollment_keys (
  id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL,
  client_id uuid NOT NULL,
  site_id uuid NOT NULL,
  kind text NOT NULL CONSTRAINT enrollment_keys_kind CHECK (kind IN ('standing', 'deployment')),
  version integer NOT NULL CONSTRAINT enrollment_keys_version_positive CHECK (version > 0),
  -- Four hex digits people recognise a key by.
  fingerprint text NOT NULL,
  key_hash text NOT NULL,
  note text,
  expires_at timestamptz,
  max_uses integer CONSTRAINT enrollment_keys_max_uses CHECK (max_uses > 0),
  use_count integer NOT NULL DEFAULT 0,
  created_by uuid REFERENCES users (id),
  created_at timestamptz NOT NULL DEFAULT now(),
  revoked_at timestamptz,
  CONSTRAINT enrollment_keys_site_fk FOREIGN KEY (tenant_id, client_id, site_id)
    REFERENCES sites (tenant_id, client_id, id) ON DELETE CASCADE,
  CONSTRAINT enrollment_keys_version_key UNIQUE (site_id, version),
  CONSTRAINT enrollment_keys_uses CHECK (max_uses IS NULL OR use_count <= max_uses)
);

CREATE TABLE agents (
  id uuid PRIMARY KEY,
  -- Short surrogate for the sample tables.
  num bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT agents_num_key UNIQUE,
  tenant_id uuid NOT NULL,
  client_id uuid NOT NULL,
  site_id uuid NOT NULL,
  state text NOT NULL CONSTRAINT agents_state CHECK (state IN ('active', 'pending', 'rejected')),
  pending_reason text,
  -- For a pending newcomer: the agent whose machine_uid it offers.
  collides_with uuid,
  hostname text NOT NULL,
  os_type text NOT NULL CONSTRAINT agents_os_type CHECK (os_type IN ('linux', 'windows', 'macos')),
  os_version text NOT NULL,
  arch text NOT NULL,
  agent_version text NOT NULL,
  protocol_version text,
  machine_uid text NOT NULL,
  machine_uid_source text NOT NULL
    CONSTRAINT agents_uid_source CHECK (machine_uid_source IN ('smbios_uuid', 'board_and_disk', 'os_id')),
  board_serial text,
  disk_serial text,
  mac_addresses text[] NOT NULL DEFAULT '{}',
  -- Keyed BLAKE3 over the cak_ key, and the id of the server key it was made with.
  key_digest bytea NOT NULL,
  digest_key_id text NOT NULL,
  key_revoked_at timestamptz,
  -- Grows with every session: messages of an older one are refused.
  session_epoch bigint NOT NULL DEFAULT 0,
  -- What the machine says of its hardware (protocol SystemInfo).
  system jsonb NOT NULL DEFAULT '{}',
  network jsonb,
  network_received_at timestamptz,
  enrolled_at timestamptz NOT NULL DEFAULT now(),
  enrolled_with uuid,
  CONSTRAINT agents_site_fk FOREIGN KEY (tenant_id, client_id, site_id) REFERENCES sites (tenant_id, client_id, id),
  CONSTRAINT agents_tenant_key UNIQUE (tenant_id, id)
);
-- One machine, one agent: "four records for one machine" must be impossible.
CREATE UNIQUE INDEX agents_machine_uid_key ON agents (tenant_id, machine_uid) WHERE state = 'active';
CREATE INDEX agents_site ON agents (site_id);
CREATE INDEX agents_client ON agents (tenant_id, client_id);
CREATE INDEX agents_hostname ON agents (tenant_id, lower(hostname), id);

-- What changes all the time about an agent, apart from what does not.
CREATE TABLE agent_status (
  agent_id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL,
  is_connected boolean NOT NULL DEFAULT false,
  connected_since timestamptz,
  last_seen timestamptz,
  last_sample_at timestamptz,
  cpu_percent real,
  memory_percent real,
  disk_percent real,
  uptime_seconds bigint,
  logged_in_user text,
  public_ip text,
  CONSTRAINT agent_status_agent_fk FOREIGN KEY (tenant_id, agent_id) REFERENCES agents (tenant_id, id) ON DELETE CASCADE
) WITH (fillfactor = 70);

CREATE TABLE install_reports (
  id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL,
  client_id uuid NOT NULL,
  site_id uuid NOT NULL,
  stage text NOT NULL,
  error text NOT NULL,
  hostname text,
  os_type text,
  agent_version text,
  ip inet,
  reported_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT install_reports_site_fk FOREIGN KEY (tenant_id, client_id, site_id)
    REFERENCES sites (tenant_id, client_id, id) ON DELETE CASCADE
);
CREATE INDEX install_reports_site ON install_reports (site_id, reported_at DESC);

-- Telemetry -----------------------------------------------------------------------------------------------

-- Dropping is dropping partitions: by retention class, then by time. Partitions are made and dropped by the two
-- functions in 0003 and carry no grants of their own.
CREATE TABLE metric_samples (
  tenant_id uuid NOT NULL,
  agent_num bigint NOT NULL,
  taken_at timestamptz NOT NULL,
  retention_days smallint NOT NULL,
  interval_seconds real NOT NULL,
  cpu_percent real NOT NULL,
  memory_used_bytes bigint NOT NULL,
  memory_total_bytes bigint NOT NULL,
  swap_used_bytes bigint NOT NULL,
  swap_total_bytes bigint NOT NULL,
  load_1 real,
  load_5 real,
  load_15 real,
  disk_percent real,
  rx_bytes bigint NOT NULL,
  tx_bytes bigint NOT NULL,
  uptime_seconds bigint NOT NULL,
  process_count integer NOT NULL,
  cpu_count integer NOT NULL,
  boot_time timestamptz,
  logged_in_user text,
  user_idle_seconds bigint,
  public_ip text,
  disks jsonb NOT NULL,
  -- {"cpu": [...], "memory": [...]}: the top processes.
  processes jsonb NOT NULL,
  PRIMARY KEY (agent_num, taken_at, retention_days)
) PARTITION BY LIST (retention_days);
CREATE TABLE metric_samples_30 PARTITION OF metric_samples FOR VALUES IN (30) PARTITION BY RANGE (taken_at);
CREATE TABLE metric_samples_90 PARTITION OF metric_samples FOR VALUES IN (90) PARTITION BY RANGE (taken_at);
CREATE TABLE metric_samples_365 PARTITION OF metric_samples FOR VALUES IN (365) PARTITION BY RANGE (taken_at);
CREATE TABLE metric_samples_1095 PARTITION OF metric_samples FOR VALUES IN (1095) PARTITION BY RANGE (taken_at);

-- Commands ------------------------------------------------------------------------------------------------

CREATE TABLE commands (
  id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL,
  client_id uuid NOT NULL,
  site_id uuid NOT NULL,
  agent_id uuid NOT NULL,
  command_type text NOT NULL
    CONSTRAINT commands_type CHECK (command_type IN ('shell', 'powershell', 'python', 'script')),
  command text NOT NULL,
  interpreter text,
  context text NOT NULL CONSTRAINT commands_context CHECK (context IN ('system', 'user_session')),
  elevated boolean NOT NULL DEFAULT false,
  working_directory text,
  environment jsonb NOT NULL DEFAULT '{}',
  stdin text,
  timeout_seconds integer NOT NULL CONSTRAINT commands_timeout CHECK (timeout_seconds BETWEEN 1 AND 86400),
  status text NOT NULL CONSTRAINT commands_status CHECK (status IN
    ('queued', 'sent', 'running', 'completed', 'failed', 'timeout', 'cancelled', 'interrupted', 'expired')),
  exit_code integer,
  error_code text,
  error text,
  stdout_bytes bigint NOT NULL DEFAULT 0,
  stderr_bytes bigint NOT NULL DEFAULT 0,
  truncated boolean NOT NULL DEFAULT false,
  last_seq integer NOT NULL DEFAULT 0,
  created_by uuid REFERENCES users (id),
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  sent_at timestamptz,
  started_at timestamptz,
  ended_at timestamptz,
  cancel_requested_at timestamptz,
  CONSTRAINT commands_agent_fk FOREIGN KEY (tenant_id, agent_id) REFERENCES agents (tenant_id, id) ON DELETE CASCADE,
  CONSTRAINT commands_tenant_key UNIQUE (tenant_id, id),
  CONSTRAINT commands_final_has_end CHECK ((status IN ('queued', 'sent', 'running')) = (ended_at IS NULL))
);
CREATE INDEX commands_agent ON commands (agent_id, created_at DESC);
CREATE INDEX commands_recent ON commands (tenant_id, created_at DESC, id DESC);
CREATE INDEX commands_open ON commands (agent_id) WHERE status IN ('queued', 'sent', 'running');

CREATE TABLE command_output (
  tenant_id uuid NOT NULL,
  command_id uuid NOT NULL,
  seq integer NOT NULL CONSTRAINT command_output_seq CHECK (seq > 0),
  stream text NOT NULL CONSTRAINT command_output_stream CHECK (stream IN ('stdout', 'stderr')),
  data bytea NOT NULL,
  received_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (command_id, seq),
  CONSTRAINT command_output_command_fk FOREIGN KEY (tenant_id, command_id)
    REFERENCES commands (tenant_id, id) ON DELETE CASCADE
);

-- Policies, alerts, tunnel ------------------------------------------------------------------------------------

CREATE TABLE policies (
  id uuid PRIMARY KEY,
  -- Absent for the platform's own.
  tenant_id uuid REFERENCES partners (id),
  scope text NOT NULL CONSTRAINT policies_scope CHECK (scope IN ('platform', 'partner', 'client', 'site', 'agent')),
  client_id uuid,
  site_id uuid,
  agent_id uuid,
  settings jsonb NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now(),
  updated_by uuid REFERENCES users (id),
  CONSTRAINT policies_client_fk FOREIGN KEY (tenant_id, client_id) REFERENCES clients (tenant_id, id) ON DELETE CASCADE,
  CONSTRAINT policies_site_fk FOREIGN KEY (tenant_id, client_id, site_id)
    REFERENCES sites (tenant_id, client_id, id) ON DELETE CASCADE,
  CONSTRAINT policies_agent_fk FOREIGN KEY (tenant_id, agent_id) REFERENCES agents (tenant_id, id) ON DELETE CASCADE,
  CONSTRAINT policies_shape CHECK (
    (scope = 'platform' AND num_nonnulls(tenant_id, client_id, site_id, agent_id) = 0)
    OR (scope = 'partner' AND tenant_id IS NOT NULL AND num_nonnulls(client_id, site_id, agent_id) = 0)
    OR (scope = 'client' AND num_nonnulls(tenant_id, client_id) = 2 AND num_nonnulls(site_id, agent_id) = 0)
    OR (scope = 'site' AND num_nonnulls(tenant_id, client_id, site_id) = 3 AND agent_id IS NULL)
    OR (scope = 'agent' AND num_nonnulls(tenant_id, agent_id) = 2 AND num_nonnulls(client_id, site_id) = 0)),
  CONSTRAINT policies_target_key UNIQUE NULLS NOT DISTINCT (tenant_id, client_id, site_id, agent_id)
);

CREATE TABLE alerts (
  id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL REFERENCES partners (id),
  client_id uuid,
  site_id uuid,
  agent_id uuid,
  kind text NOT NULL,
  severity text NOT NULL CONSTRAINT alerts_severity CHECK (severity IN ('info', 'warning', 'critical')),
  title text NOT NULL,
  detail jsonb NOT NULL DEFAULT '{}',
  -- One open alert per cause; raising it again counts up.
  dedup_key text NOT NULL,
  status text NOT NULL DEFAULT 'open' CONSTRAINT alerts_status CHECK (status IN ('open', 'acknowledged', 'resolved')),
  count integer NOT NULL DEFAULT 1,
  raised_at timestamptz NOT NULL DEFAULT now(),
  last_raised_at timestamptz NOT NULL DEFAULT now(),
  acknowledged_at timestamptz,
  acknowledged_by uuid REFERENCES users (id),
  resolved_at timestamptz,
  resolved_by uuid REFERENCES users (id),
  CONSTRAINT alerts_agent_fk FOREIGN KEY (tenant_id, agent_id) REFERENCES agents (tenant_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX alerts_dedup ON alerts (tenant_id, dedup_key) WHERE status <> 'resolved';
CREATE INDEX alerts_recent ON alerts (tenant_id, raised_at DESC, id DESC);
CREATE INDEX alerts_agent ON alerts (agent_id) WHERE status <> 'resolved';

CREATE TABLE tunnel_sessions (
  id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL,
  client_id uuid NOT NULL,
  site_id uuid NOT NULL,
  agent_id uuid NOT NULL,
  tech_id uuid NOT NULL REFERENCES users (id),
  status text NOT NULL CONSTRAINT tunnel_sessions_status CHECK (status IN ('active', 'closed')),
  opened_at timestamptz NOT NULL DEFAULT now(),
  last_activity timestamptz NOT NULL DEFAULT now(),
  closed_at timestamptz,
  CONSTRAINT tunnel_sessions_agent_fk FOREIGN KEY (tenant_id, agent_id) REFERENCES agents (tenant_id, id) ON DELETE CASCADE,
  CONSTRAINT tunnel_sessions_closed CHECK ((status = 'closed') = (closed_at IS NOT NULL))
);
CREATE UNIQUE INDEX tunnel_sessions_one_active ON tunnel_sessions (agent_id, tech_id) WHERE status = 'active';

-- Audit and events ----------------------------------------------------------------------------------------

-- A hash chain per partner (the platform's own under the nil uuid). Written by audit_append only.
CREATE TABLE audit_log (
  tenant_id uuid NOT NULL,
  seq bigint NOT NULL,
  id uuid NOT NULL,
  at timestamptz NOT NULL,
  actor_kind text NOT NULL,
  actor_id uuid,
  actor_name text,
  action text NOT NULL,
  target_kind text,
  target_id uuid,
  target_name text,
  detail jsonb NOT NULL,
  ip inet,
  request_id text,
  prev_hash bytea NOT NULL,
  hash bytea NOT NULL,
  PRIMARY KEY (tenant_id, seq)
);
CREATE INDEX audit_log_target ON audit_log (tenant_id, target_id);

CREATE TABLE audit_heads (
  tenant_id uuid PRIMARY KEY,
  seq bigint NOT NULL,
  hash bytea NOT NULL
);

-- Outbox: what happened, in the transaction that made it happen. Read by the event bus.
CREATE TABLE events (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id uuid NOT NULL,
  topic text NOT NULL,
  payload jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX events_created ON events (created_at);
