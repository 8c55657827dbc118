-- Updates of the agents: what was ordered and what came of it, what each agent says it can, and which versions the
-- fleet is at.

CREATE TABLE agent_updates (
  id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL,
  agent_id uuid NOT NULL,
  action text NOT NULL CONSTRAINT agent_updates_action CHECK (action IN ('install', 'roll_back')),
  -- Who wanted it: a policy, a person, a rollout, or the machine itself.
  origin text NOT NULL CONSTRAINT agent_updates_origin CHECK (origin IN ('policy', 'person', 'rollout', 'machine')),
  status text NOT NULL CONSTRAINT agent_updates_status CHECK (status IN ('ordered', 'downloading', 'ready', 'trying',
    'confirmed', 'rolled_back', 'failed', 'expired', 'superseded')),
  from_version text NOT NULL,
  to_version text NOT NULL,
  channel text NOT NULL,
  ordered_by uuid REFERENCES users (id),
  -- Of a rollout: which one, and which of its rings.
  rollout_id uuid,
  ring smallint,
  ordered_at timestamptz NOT NULL,
  -- When its state last changed.
  changed_at timestamptz NOT NULL,
  -- The machine does not begin with it afterwards.
  valid_until timestamptz NOT NULL,
  -- Nothing is waited for longer than this.
  deadline timestamptz NOT NULL,
  ended_at timestamptz,
  error_code text,
  error text,
  CONSTRAINT agent_updates_agent_fk FOREIGN KEY (tenant_id, agent_id) REFERENCES agents (tenant_id, id) ON DELETE CASCADE,
  CONSTRAINT agent_updates_end CHECK ((status IN ('ordered', 'downloading', 'ready', 'trying')) = (ended_at IS NULL))
);
-- An agent does one at a time.
CREATE UNIQUE INDEX agent_updates_one_open ON agent_updates (agent_id) WHERE ended_at IS NULL;
CREATE INDEX agent_updates_newest ON agent_updates (agent_id, ordered_at DESC, id DESC);
CREATE INDEX agent_updates_deadline ON agent_updates (tenant_id, deadline) WHERE ended_at IS NULL;
CREATE INDEX agent_updates_ended ON agent_updates (tenant_id, ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX agent_updates_rollout ON agent_updates (rollout_id, ring) WHERE rollout_id IS NOT NULL;

-- What an agent said at its last hello. Agents that speak 1.0 say nothing and have no row.
CREATE TABLE agent_update_abilities (
  agent_id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL,
  supported boolean NOT NULL,
  reason text,
  previous_version text,
  CONSTRAINT agent_update_abilities_agent_fk FOREIGN KEY (tenant_id, agent_id) REFERENCES agents (tenant_id, id)
    ON DELETE CASCADE
);

CALL protect('agent_updates', $$ EXISTS (SELECT 1 FROM agents a WHERE a.id = agent_updates.agent_id) $$);
CALL protect('agent_update_abilities',
  $$ EXISTS (SELECT 1 FROM agents a WHERE a.id = agent_update_abilities.agent_id) $$);
GRANT SELECT, INSERT, UPDATE, DELETE ON agent_updates, agent_update_abilities TO gururmm_app;

-- What an agent is, for those who decide what it is to become.
CREATE VIEW agent_builds WITH (security_invoker = true) AS
  SELECT a.id, a.tenant_id, a.client_id, a.site_id, a.num, a.state, a.hostname, a.os_type, a.arch, a.agent_version,
    a.protocol_version, coalesce(s.is_connected, false) AS is_connected, s.last_seen, s.connected_since
  FROM agents a LEFT JOIN agent_status s ON s.agent_id = a.id;
GRANT SELECT ON agent_builds TO gururmm_app;
