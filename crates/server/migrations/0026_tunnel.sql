-- Sessions with machines carry channels: who holds one, what the machine is told, why it ended, and what it moved.

ALTER TABLE tunnel_sessions
  ADD COLUMN reason text CONSTRAINT tunnel_sessions_reason CHECK (length(reason) BETWEEN 1 AND 500),
  ADD COLUMN ticket text CONSTRAINT tunnel_sessions_ticket CHECK (length(ticket) BETWEEN 1 AND 64),
  ADD COLUMN closed_reason text CONSTRAINT tunnel_sessions_closed_reason CHECK (closed_reason IN ('closed_by_tech',
    'closed_by_admin', 'idle', 'too_long', 'agent_lost', 'right_lost', 'recording_failed', 'protocol_error', 'unused')),
  -- When it is over at the latest.
  ADD COLUMN ends_at timestamptz,
  -- The node with the tech's socket; a new key each time a node becomes the host, by which frames between nodes are sealed.
  ADD COLUMN host_node uuid,
  ADD COLUMN host_key uuid,
  ADD COLUMN host_seen timestamptz,
  -- What the machine's agent is told: `TunnelOpen`, written before anybody is told to look.
  ADD COLUMN orders jsonb,
  ADD COLUMN bytes_to_machine bigint NOT NULL DEFAULT 0,
  ADD COLUMN bytes_from_machine bigint NOT NULL DEFAULT 0;

CREATE INDEX tunnel_sessions_newest ON tunnel_sessions (tenant_id, opened_at DESC, id DESC);
CREATE INDEX tunnel_sessions_tech ON tunnel_sessions (tech_id, opened_at);
CREATE INDEX tunnel_sessions_machine ON tunnel_sessions (agent_id, opened_at DESC);
CREATE INDEX tunnel_sessions_active ON tunnel_sessions (tenant_id) WHERE status = 'active';
