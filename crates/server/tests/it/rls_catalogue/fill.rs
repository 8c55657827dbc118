//! At least one row of every table for every site of the world, so that "sees nothing" means something.

use super::{CATALOGUE, Class};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

/// Fills a database that holds the world, as its owner; checks that no table was forgotten.
pub async fn everything(owner: &mut PgConnection) {
    owner.execute(ROWS).await.unwrap();
    for (table, class) in CATALOGUE {
        if *class == Class::View || matches!(class, Class::PartitionOf(_)) {
            continue;
        }
        let rows: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
            .fetch_one(&mut *owner)
            .await
            .unwrap();
        assert!(rows > 0, "{table} is empty: add a row in rls_catalogue/fill.rs");
    }
}

const ROWS: &str = r#"
INSERT INTO agents (id, tenant_id, client_id, site_id, state, hostname, os_type, os_version, arch, agent_version,
  machine_uid, machine_uid_source, key_digest, digest_key_id)
SELECT gen_random_uuid(), tenant_id, client_id, id, 'active', 'host-' || code, 'linux', '12', 'x86_64', '0.1.0', 'uid-' || code,
  'os_id', convert_to(code, 'UTF8'), 'p1' FROM sites;
INSERT INTO agent_status (agent_id, tenant_id) SELECT id, tenant_id FROM agents;
INSERT INTO agent_aliases (alias, tenant_id, agent_id) SELECT gen_random_uuid(), tenant_id, id FROM agents;
INSERT INTO agent_logs (id, tenant_id, agent_id, status, requested_at, expires_at)
SELECT gen_random_uuid(), tenant_id, id, 'requested', now(), now() FROM agents;
INSERT INTO agent_log_parts (tenant_id, log_id, seq, data) SELECT tenant_id, id, 1, 'x' FROM agent_logs;
INSERT INTO agent_crashes (id, tenant_id, agent_id, crash_id, cause, crashed_at, received_at, agent_version, log)
SELECT gen_random_uuid(), tenant_id, id, gen_random_uuid(), 'killed', now(), now(), '0.1.0', 'x' FROM agents;
INSERT INTO metric_gaps (tenant_id, agent_id, gap_id, starts_at, ends_at, samples, reason)
SELECT tenant_id, id, gen_random_uuid(), now(), now(), 14, 'outbox_full' FROM agents;
INSERT INTO agent_uninstalls (id, tenant_id, agent_id, status, ordered_at, changed_at, valid_until, deadline)
SELECT gen_random_uuid(), tenant_id, id, 'ordered', now(), now(), now(), now() FROM agents;
INSERT INTO agent_connections (agent_id, tenant_id, epoch, connected_at, agent_version, node_id)
SELECT id, tenant_id, 1, now(), '0.1.0', gen_random_uuid() FROM agents;
INSERT INTO agent_update_abilities (agent_id, tenant_id, supported) SELECT id, tenant_id, true FROM agents;
INSERT INTO agent_updates (id, tenant_id, agent_id, action, origin, status, from_version, to_version, channel, ordered_at,
  changed_at, valid_until, deadline)
SELECT gen_random_uuid(), tenant_id, id, 'install', 'policy', 'ordered', '0.1.0', '0.2.0', 'stable', now(), now(), now(), now()
FROM agents;
INSERT INTO agent_follows (agent_id, tenant_id, serial, state) SELECT id, tenant_id, 1, 'confirmed' FROM agents;
INSERT INTO follow_records (serial, server_url, not_before, expires_at, record, signature, set_by)
VALUES (1, 'https://rmm.example.com', now(), now(), '{}', 'x', 'somebody');
INSERT INTO nodes (id, name, version, reach) VALUES (gen_random_uuid(), 'rmm-1', '0.1.0', 'alone');
INSERT INTO retired_protocols (version) VALUES ('0.1');
INSERT INTO update_rollouts (id, tenant_id, version, state, ring, ring_since, started_at, changed_at)
SELECT gen_random_uuid(), id, '0.2.0', 'running', 0, now(), now(), now() FROM partners;
INSERT INTO update_rollout_members (rollout_id, tenant_id, agent_id, ring)
SELECT r.id, a.tenant_id, a.id, 0 FROM agents a JOIN update_rollouts r ON r.tenant_id = a.tenant_id;
INSERT INTO enrollment_keys (id, tenant_id, client_id, site_id, kind, version, fingerprint, key_hash)
SELECT gen_random_uuid(), tenant_id, client_id, id, 'standing', 1, '7F2A', 'hash of ' || code FROM sites;
INSERT INTO install_reports (id, tenant_id, client_id, site_id, stage, error)
SELECT gen_random_uuid(), tenant_id, client_id, id, 'download', 'no network' FROM sites;
INSERT INTO commands (id, tenant_id, client_id, site_id, agent_id, command_type, command, context, timeout_seconds,
  status, expires_at)
SELECT gen_random_uuid(), tenant_id, client_id, site_id, id, 'shell', 'true', 'system', 60, 'queued', now() + interval '1 day'
FROM agents;
INSERT INTO command_output (tenant_id, command_id, seq, stream, data) SELECT tenant_id, id, 1, 'stdout', 'x' FROM commands;
INSERT INTO metric_samples (tenant_id, agent_num, taken_at, retention_days, interval_seconds, cpu_percent,
  memory_used_bytes, memory_total_bytes, swap_used_bytes, swap_total_bytes, rx_bytes, tx_bytes, uptime_seconds,
  process_count, cpu_count, disks, processes)
SELECT tenant_id, num, now(), 90, 60, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, '[]', '{}' FROM agents;
INSERT INTO metric_hours (tenant_id, agent_num, hour, retention_days, measured_by, samples, first_at, figures, details)
SELECT tenant_id, num, date_trunc('hour', now()), 90, num, 1, now(), 'x', 'x' FROM agents;
INSERT INTO metric_rollups (tenant_id, agent_num, bucket_seconds, starts_at, retention_days, keep_days, measured_by, buckets)
SELECT tenant_id, num, 300, date_trunc('hour', now()), 90, 90, num, 'x' FROM agents;
INSERT INTO process_names (tenant_id, digest, name, username, command_line, keep_until)
SELECT id, 'x', 'cron', 'root', '/usr/sbin/cron -f', now() FROM partners;
INSERT INTO history_progress (tenant_id, looked_at, hours_waiting) SELECT id, now(), 0 FROM partners;
INSERT INTO alerts (id, tenant_id, client_id, site_id, agent_id, kind, severity, title, dedup_key)
SELECT gen_random_uuid(), tenant_id, client_id, site_id, id, 'agent_pending', 'info', 'A machine waits', id::text FROM agents;
INSERT INTO tunnel_sessions (id, tenant_id, client_id, site_id, agent_id, tech_id, status)
SELECT gen_random_uuid(), a.tenant_id, a.client_id, a.site_id, a.id,
  (SELECT user_id FROM memberships m WHERE m.tenant_id = a.tenant_id ORDER BY user_id LIMIT 1), 'active' FROM agents a;
INSERT INTO recordings (id, tenant_id, client_id, site_id, agent_id, hostname, tech_id, tech_name)
SELECT id, tenant_id, client_id, site_id, agent_id, 'host', tech_id, 'Tess Tech' FROM tunnel_sessions;
INSERT INTO recording_lines (tenant_id, recording_id, number, ordinal, channel, at_ms, line)
SELECT tenant_id, id, 1, 1, 1, 1, 'uptime' FROM recordings;
INSERT INTO sessions (id, user_id, tenant_id, kind, token_digest, expires_at)
SELECT gen_random_uuid(), user_id, tenant_id, 'api', uuid_send(gen_random_uuid()), now() + interval '1 hour' FROM memberships;
INSERT INTO invitations (id, tenant_id, user_id, token_digest, expires_at)
SELECT gen_random_uuid(), tenant_id, user_id, uuid_send(gen_random_uuid()), now() + interval '1 hour' FROM memberships;
INSERT INTO live_tickets (token_digest, session_id, expires_at) SELECT uuid_send(gen_random_uuid()), id, now() FROM sessions;
INSERT INTO setup_tokens (token_digest, expires_at) VALUES ('x', now());
INSERT INTO auth_throttle (key, failures, window_started_at) VALUES ('x', 1, now());
INSERT INTO installation_keys (key_id, fingerprint) VALUES ('p1', sha256('x'));
INSERT INTO events (tenant_id, topic, payload) SELECT id, 'client.changed', '{}' FROM partners;
INSERT INTO policies (id, tenant_id, scope, client_id, site_id, agent_id, settings)
SELECT gen_random_uuid(), NULL, 'platform', NULL::uuid, NULL::uuid, NULL::uuid, '{}'::jsonb
UNION ALL SELECT gen_random_uuid(), id, 'partner', NULL, NULL, NULL, '{}' FROM partners
UNION ALL SELECT gen_random_uuid(), tenant_id, 'client', id, NULL, NULL, '{}' FROM clients
UNION ALL SELECT gen_random_uuid(), tenant_id, 'site', client_id, id, NULL, '{}' FROM sites
UNION ALL SELECT gen_random_uuid(), tenant_id, 'agent', NULL, NULL, id, '{}' FROM agents;
DO $$
DECLARE partner uuid;
BEGIN
  FOR partner IN SELECT id FROM partners LOOP
    PERFORM set_config('app.tenant_id', partner::text, true);
    PERFORM audit_append(gen_random_uuid(), 'system', NULL, 'test', 'client.create', 'client', NULL, NULL, '{}', NULL, NULL);
    PERFORM recording_append(id, 'opened', NULL, '{}') FROM recordings WHERE tenant_id = partner;
  END LOOP;
  PERFORM set_config('app.tenant_id', '', true);
  PERFORM audit_append(gen_random_uuid(), 'system', NULL, 'test', 'partner.create', 'partner', NULL, NULL, '{}', NULL, NULL);
END
$$;
"#;
