-- Retention: what is over for longer than its partner's class is found by its end, oldest first. Rows that are not
-- over are in none of these.
CREATE INDEX commands_ended ON commands (tenant_id, ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX alerts_resolved ON alerts (tenant_id, resolved_at) WHERE status = 'resolved';
CREATE INDEX tunnel_sessions_ended ON tunnel_sessions (tenant_id, closed_at) WHERE status = 'closed';
