-- Why a machine was offline: every session of an agent, from when it took orders to why it ended.

CREATE TABLE agent_connections (
  agent_id uuid NOT NULL,
  tenant_id uuid NOT NULL,
  epoch bigint NOT NULL,
  connected_at timestamptz NOT NULL,
  disconnected_at timestamptz,
  reason text CONSTRAINT agent_connections_reason CHECK (reason IN ('agent_stopped', 'link_lost', 'silent',
    'server_stopping', 'server_lost', 'replaced', 'revoked', 'protocol_error', 'too_slow', 'failed')),
  agent_version text NOT NULL,
  address text,
  -- Since when the machine ran, as it said itself: whether it started anew shows between two sessions.
  boot_time timestamptz,
  node_id uuid NOT NULL,
  PRIMARY KEY (agent_id, epoch),
  CONSTRAINT agent_connections_agent_fk FOREIGN KEY (tenant_id, agent_id) REFERENCES agents (tenant_id, id) ON DELETE CASCADE,
  CONSTRAINT agent_connections_over CHECK ((disconnected_at IS NULL) = (reason IS NULL))
);
CREATE INDEX agent_connections_over ON agent_connections (tenant_id, disconnected_at) WHERE disconnected_at IS NOT NULL;
CREATE INDEX agent_connections_open ON agent_connections (node_id) WHERE disconnected_at IS NULL;
-- As agent_status: who is not confined is not asked machine by machine.
CALL protect('agent_connections', $$ tenant_id = (SELECT app_tenant()) AND (NOT (SELECT app_confined())
  OR EXISTS (SELECT 1 FROM agents a WHERE a.id = agent_connections.agent_id)) $$);
GRANT SELECT, INSERT, UPDATE, DELETE ON agent_connections TO gururmm_app;

-- For the slice that shows it: with what a session says of the time before it.
CREATE VIEW agent_connection_history WITH (security_invoker = true) AS
SELECT agent_id, epoch, connected_at, disconnected_at, reason, agent_version, address,
  boot_time > lag(disconnected_at) OVER before - interval '1 minute' AS restarted_before
FROM agent_connections
WINDOW before AS (PARTITION BY agent_id ORDER BY epoch);
GRANT SELECT ON agent_connection_history TO gururmm_app;

-- A node starts: what it left open, and what nodes left that are forgotten, ended when the agent was last heard.
CREATE OR REPLACE FUNCTION node_started(node uuid, node_name text, node_version text, node_reach text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  INSERT INTO nodes AS n (id, name, version, reach) VALUES (node, node_name, node_version, node_reach)
  ON CONFLICT (id) DO UPDATE SET name = node_name, version = node_version, reach = node_reach, started_at = now(),
    last_seen = now(), stopped_at = NULL, lost_at = NULL, connected_agents = 0, browsers = 0, samples_per_minute = 0,
    ingest_queue_depth = 0, ingest_lag_ms = 0;
  UPDATE agent_connections c
  SET disconnected_at = greatest(c.connected_at, coalesce(s.last_seen, c.connected_at)), reason = 'server_lost'
  FROM agent_status s
  WHERE s.agent_id = c.agent_id AND c.disconnected_at IS NULL
    AND (c.node_id = node OR NOT EXISTS (SELECT 1 FROM nodes n WHERE n.id = c.node_id));
  UPDATE agent_status s SET is_connected = false, connected_since = NULL
  WHERE is_connected AND (node_id IS NULL OR node_id = node OR NOT EXISTS (SELECT 1 FROM nodes n WHERE n.id = s.node_id));
$$;
