-- What a slice publishes for other slices' lists. security_invoker: the reader's own row-level security holds.

CREATE VIEW agent_directory WITH (security_invoker = true) AS
  SELECT a.id, a.num, a.tenant_id, a.client_id, a.site_id, a.state, a.hostname, a.os_type,
    coalesce(s.is_connected, false) AS is_connected, s.last_seen
  FROM agents a LEFT JOIN agent_status s ON s.agent_id = a.id;

CREATE VIEW site_directory WITH (security_invoker = true) AS
  SELECT s.id, s.tenant_id, s.client_id, s.name, s.code, c.name AS client_name
  FROM sites s JOIN clients c ON c.id = s.client_id;

CREATE VIEW people WITH (security_invoker = true) AS SELECT id, name, email FROM users;

CREATE VIEW open_alert_counts WITH (security_invoker = true) AS
  SELECT agent_id, count(*) AS alerts FROM alerts WHERE status <> 'resolved' AND agent_id IS NOT NULL GROUP BY agent_id;

GRANT SELECT ON agent_directory, site_directory, people, open_alert_counts TO gururmm_app;
