-- Removal of agents from their machines: what was ordered and what came of it. An order waits for a machine that is away.

CREATE TABLE agent_uninstalls (
  id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL,
  agent_id uuid NOT NULL,
  status text NOT NULL CONSTRAINT agent_uninstalls_status CHECK (status IN ('ordered', 'uninstalling', 'uninstalled',
    'unconfirmed', 'failed', 'cancelled', 'expired')),
  ordered_by uuid REFERENCES users (id),
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
  CONSTRAINT agent_uninstalls_agent_fk FOREIGN KEY (tenant_id, agent_id) REFERENCES agents (tenant_id, id)
    ON DELETE CASCADE,
  CONSTRAINT agent_uninstalls_end CHECK ((status IN ('ordered', 'uninstalling')) = (ended_at IS NULL))
);
CREATE UNIQUE INDEX agent_uninstalls_one_open ON agent_uninstalls (agent_id) WHERE ended_at IS NULL;
CREATE INDEX agent_uninstalls_newest ON agent_uninstalls (agent_id, ordered_at DESC, id DESC);
CREATE INDEX agent_uninstalls_deadline ON agent_uninstalls (tenant_id, deadline) WHERE ended_at IS NULL;

CALL protect('agent_uninstalls', $$ EXISTS (SELECT 1 FROM agents a WHERE a.id = agent_uninstalls.agent_id) $$);
GRANT SELECT, INSERT, UPDATE, DELETE ON agent_uninstalls TO gururmm_app;
