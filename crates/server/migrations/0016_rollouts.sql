-- Rollouts: a version reaches a partner's machines in rings, each after the one before has shown that it is well.
CREATE TABLE update_rollouts (
  id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL REFERENCES partners (id),
  version text NOT NULL,
  state text NOT NULL CONSTRAINT update_rollouts_state CHECK (state IN ('running', 'halted', 'rolling_back', 'done')),
  -- The outermost ring that is served.
  ring smallint NOT NULL,
  ring_since timestamptz NOT NULL,
  -- Why it stands still, for people.
  reason text,
  started_at timestamptz NOT NULL,
  changed_at timestamptz NOT NULL,
  CONSTRAINT update_rollouts_tenant_key UNIQUE (tenant_id, id),
  CONSTRAINT update_rollouts_version_key UNIQUE (tenant_id, version)
);
CREATE INDEX update_rollouts_newest ON update_rollouts (tenant_id, started_at DESC, id DESC);

-- Which machine belongs to which ring, drawn when the rollout starts.
CREATE TABLE update_rollout_members (
  rollout_id uuid NOT NULL,
  tenant_id uuid NOT NULL,
  agent_id uuid NOT NULL,
  ring smallint NOT NULL,
  PRIMARY KEY (rollout_id, agent_id),
  CONSTRAINT update_rollout_members_rollout_fk FOREIGN KEY (tenant_id, rollout_id)
    REFERENCES update_rollouts (tenant_id, id) ON DELETE CASCADE,
  CONSTRAINT update_rollout_members_agent_fk FOREIGN KEY (tenant_id, agent_id)
    REFERENCES agents (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX update_rollout_members_agent ON update_rollout_members (agent_id);

CALL protect('update_rollouts', $$ tenant_id = (SELECT app_tenant()) $$);
CALL protect('update_rollout_members',
  $$ EXISTS (SELECT 1 FROM agents a WHERE a.id = update_rollout_members.agent_id) $$);
GRANT SELECT, INSERT, UPDATE, DELETE ON update_rollouts TO gururmm_app;
GRANT SELECT, INSERT, DELETE ON update_rollout_members TO gururmm_app;

-- Which version crashed where, for those who judge a version.
CREATE VIEW agent_crash_directory WITH (security_invoker = true) AS
  SELECT agent_id, agent_version, received_at FROM agent_crashes;
GRANT SELECT ON agent_crash_directory TO gururmm_app;
