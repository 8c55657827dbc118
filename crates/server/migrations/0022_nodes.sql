-- Several servers on one database: who they are, and which of them holds an agent's socket.

CREATE TABLE nodes (
  id uuid PRIMARY KEY,
  name text NOT NULL,
  version text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT now(),
  -- By the database's clock, so that nodes need not agree on the time.
  last_seen timestamptz NOT NULL DEFAULT now(),
  stopped_at timestamptz,
  lost_at timestamptz,
  reach text NOT NULL CONSTRAINT nodes_reach CHECK (reach IN ('alone', 'connected', 'away')),
  connected_agents bigint NOT NULL DEFAULT 0,
  browsers bigint NOT NULL DEFAULT 0,
  samples_per_minute bigint NOT NULL DEFAULT 0,
  ingest_queue_depth bigint NOT NULL DEFAULT 0,
  ingest_lag_ms bigint NOT NULL DEFAULT 0
);
CALL protect('nodes', 'false');

-- The session that was written down last. What an older one's node still says of presence does not count.
ALTER TABLE agent_status ADD COLUMN node_id uuid, ADD COLUMN session_epoch bigint NOT NULL DEFAULT 0;
CREATE INDEX agent_status_node ON agent_status (node_id) WHERE is_connected;

-- A node starts: nobody is connected to it yet, whatever it left behind. What an older release wrote names no node.
CREATE FUNCTION node_started(node uuid, node_name text, node_version text, node_reach text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  INSERT INTO nodes AS n (id, name, version, reach) VALUES (node, node_name, node_version, node_reach)
  ON CONFLICT (id) DO UPDATE SET name = node_name, version = node_version, reach = node_reach, started_at = now(),
    last_seen = now(), stopped_at = NULL, lost_at = NULL, connected_agents = 0, browsers = 0, samples_per_minute = 0,
    ingest_queue_depth = 0, ingest_lag_ms = 0;
  UPDATE agent_status s SET is_connected = false, connected_since = NULL
  WHERE is_connected AND (node_id IS NULL OR node_id = node OR NOT EXISTS (SELECT 1 FROM nodes n WHERE n.id = s.node_id));
$$;

-- A node lives. True: it was given up meanwhile, and its agents were said to be offline.
CREATE FUNCTION node_lives(node uuid, node_reach text, agents bigint, open_browsers bigint, samples bigint, depth bigint,
  lag_ms bigint) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  UPDATE nodes n SET last_seen = now(), lost_at = NULL, reach = node_reach, connected_agents = agents,
    browsers = open_browsers, samples_per_minute = samples, ingest_queue_depth = depth, ingest_lag_ms = node_lives.lag_ms
  FROM (SELECT b.id, b.lost_at IS NOT NULL AS was_lost FROM nodes b WHERE b.id = node FOR UPDATE) before
  WHERE n.id = before.id
  RETURNING before.was_lost
$$;

CREATE FUNCTION node_stopped(node uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  UPDATE nodes SET stopped_at = now(), last_seen = now(), connected_agents = 0, browsers = 0 WHERE id = node
$$;

-- Gives up the nodes that were silent for so long. Answers the partners of agents that are still said to be connected to
-- a node that is gone, with that node.
CREATE FUNCTION give_up_nodes(silent_for interval) RETURNS TABLE (tenant_id uuid, node_id uuid)
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  DELETE FROM nodes WHERE last_seen < now() - interval '30 days';
  UPDATE nodes SET lost_at = now()
  WHERE stopped_at IS NULL AND lost_at IS NULL AND last_seen < now() - silent_for;
  SELECT DISTINCT s.tenant_id, s.node_id
  FROM agent_status s LEFT JOIN nodes n ON n.id = s.node_id
  WHERE s.is_connected AND s.node_id IS NOT NULL
    AND (n.id IS NULL OR n.lost_at IS NOT NULL OR n.stopped_at IS NOT NULL)
  ORDER BY 1, 2
$$;

CREATE FUNCTION list_nodes() RETURNS SETOF nodes
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT * FROM nodes WHERE (SELECT app_platform()) ORDER BY name, id
$$;

-- Which of these sessions are not their agents' living ones: another came later, or the key was taken away. A node asks
-- for all that it holds; ids and numbers only.
CREATE FUNCTION stale_sessions(agents uuid[], epochs bigint[]) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT held.agent_id FROM unnest(agents, epochs) AS held (agent_id, epoch)
  LEFT JOIN agents a ON a.id = held.agent_id
  WHERE a.id IS NULL OR a.state <> 'active' OR a.key_revoked_at IS NOT NULL OR a.session_epoch <> held.epoch
$$;

GRANT EXECUTE ON FUNCTION node_started(uuid, text, text, text),
  node_lives(uuid, text, bigint, bigint, bigint, bigint, bigint), node_stopped(uuid), give_up_nodes(interval),
  list_nodes(), stale_sessions(uuid[], bigint[]) TO gururmm_app;
