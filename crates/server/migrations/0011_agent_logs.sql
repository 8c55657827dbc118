-- The agents' own logs: what someone asked for, and what a machine found after its agent had crashed.

CREATE TABLE agent_logs (
  id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL,
  agent_id uuid NOT NULL,
  status text NOT NULL CONSTRAINT agent_logs_status CHECK (status IN ('requested', 'complete', 'failed')),
  requested_by uuid REFERENCES users (id),
  requested_at timestamptz NOT NULL,
  -- Unless something of it came by then, nothing will; every piece puts it off, to half an hour at most.
  expires_at timestamptz NOT NULL,
  ended_at timestamptz,
  last_seq integer NOT NULL DEFAULT 0,
  received_bytes bigint NOT NULL DEFAULT 0,
  -- How often it began anew, because the link was lost.
  restarts integer NOT NULL DEFAULT 0,
  -- What the machine holds, sent or not.
  total_bytes bigint,
  lost_lines bigint,
  error text,
  CONSTRAINT agent_logs_tenant_id UNIQUE (tenant_id, id),
  CONSTRAINT agent_logs_agent_fk FOREIGN KEY (tenant_id, agent_id) REFERENCES agents (tenant_id, id) ON DELETE CASCADE,
  CONSTRAINT agent_logs_end CHECK ((status = 'requested') = (ended_at IS NULL))
);
-- Who asks while a log is on its way gets that one.
CREATE UNIQUE INDEX agent_logs_one_open ON agent_logs (agent_id) WHERE status = 'requested';
CREATE INDEX agent_logs_newest ON agent_logs (agent_id, requested_at DESC);
CREATE INDEX agent_logs_oldest ON agent_logs (tenant_id, requested_at);

CREATE TABLE agent_log_parts (
  tenant_id uuid NOT NULL,
  log_id uuid NOT NULL,
  seq integer NOT NULL CONSTRAINT agent_log_parts_seq CHECK (seq > 0),
  data bytea NOT NULL,
  PRIMARY KEY (log_id, seq),
  CONSTRAINT agent_log_parts_log_fk FOREIGN KEY (tenant_id, log_id) REFERENCES agent_logs (tenant_id, id) ON DELETE CASCADE
);

CREATE TABLE agent_crashes (
  id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL,
  agent_id uuid NOT NULL,
  -- Made by the machine: it tells a report that comes twice, and nothing more is believed of it.
  crash_id uuid NOT NULL,
  cause text NOT NULL CONSTRAINT agent_crashes_cause CHECK (cause IN ('panic', 'killed', 'other')),
  crashed_at timestamptz NOT NULL,
  received_at timestamptz NOT NULL,
  agent_version text NOT NULL,
  message text,
  log bytea NOT NULL,
  CONSTRAINT agent_crashes_once UNIQUE (agent_id, crash_id),
  CONSTRAINT agent_crashes_agent_fk FOREIGN KEY (tenant_id, agent_id) REFERENCES agents (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX agent_crashes_newest ON agent_crashes (agent_id, received_at DESC);
CREATE INDEX agent_crashes_oldest ON agent_crashes (tenant_id, received_at);

CALL protect('agent_logs', $$ EXISTS (SELECT 1 FROM agents a WHERE a.id = agent_logs.agent_id) $$);
CALL protect('agent_log_parts', $$ EXISTS (SELECT 1 FROM agent_logs l WHERE l.id = agent_log_parts.log_id) $$);
CALL protect('agent_crashes', $$ EXISTS (SELECT 1 FROM agents a WHERE a.id = agent_crashes.agent_id) $$);
GRANT SELECT, INSERT, UPDATE, DELETE ON agent_logs TO gururmm_app;
GRANT SELECT, INSERT, DELETE ON agent_log_parts, agent_crashes TO gururmm_app;
