-- Rights and row-level security for the first schema, and the functions that run as the owner.

-- Rules -----------------------------------------------------------------------------------------------------
-- (select f()) makes PostgreSQL evaluate the context once per statement and not once per row.

CALL protect('partners', $$ id = (SELECT app_tenant()) OR (SELECT app_platform()) $$);
CALL protect('clients', $$ tenant_id = (SELECT app_tenant()) AND (NOT (SELECT app_confined())
  OR id = ANY ((SELECT app_clients())::uuid[]) OR id = ANY ((SELECT app_parent_clients())::uuid[])) $$);
CALL protect('sites', $$ tenant_id = (SELECT app_tenant()) AND (NOT (SELECT app_confined())
  OR client_id = ANY ((SELECT app_clients())::uuid[]) OR id = ANY ((SELECT app_sites())::uuid[])) $$);
CALL protect('users', $$ id = (SELECT app_user()) OR (SELECT app_platform())
  OR EXISTS (SELECT 1 FROM memberships m WHERE m.user_id = users.id AND m.tenant_id = (SELECT app_tenant())) $$);
CALL protect('memberships', $$ tenant_id = (SELECT app_tenant()) OR user_id = (SELECT app_user())
  OR (SELECT app_platform()) $$);
CALL protect('sessions', $$ user_id = (SELECT app_user())
  OR (tenant_id = (SELECT app_tenant()) AND NOT (SELECT app_confined())) $$);
CALL protect('invitations', $$ tenant_id = (SELECT app_tenant()) $$);
CALL protect('agent_status', $$ EXISTS (SELECT 1 FROM agents a WHERE a.id = agent_status.agent_id) $$);
CALL protect('command_output', $$ EXISTS (SELECT 1 FROM commands c WHERE c.id = command_output.command_id) $$);
CALL protect('metric_samples', $$ tenant_id = (SELECT app_tenant())
  AND EXISTS (SELECT 1 FROM agents a WHERE a.num = metric_samples.agent_num) $$);
CALL protect('policies', $$ tenant_id = (SELECT app_tenant()) OR (SELECT app_platform()) $$);
-- The platform's own policy is inherited by everyone, so everyone may read it.
CREATE POLICY app_reads_platform ON policies FOR SELECT TO gururmm_app USING (scope = 'platform');
CALL protect('alerts', $$ tenant_id = (SELECT app_tenant()) AND (NOT (SELECT app_confined())
  OR client_id = ANY ((SELECT app_clients())::uuid[]) OR site_id = ANY ((SELECT app_sites())::uuid[])) $$);
CALL protect('audit_log', $$ tenant_id = (SELECT app_tenant())
  OR ((SELECT app_platform()) AND tenant_id = '00000000-0000-0000-0000-000000000000') $$);
CALL protect('audit_heads', $$ false $$);
CALL protect('events', $$ tenant_id = (SELECT app_tenant()) $$);
DO $$
DECLARE target text;
BEGIN
  FOREACH target IN ARRAY ARRAY['enrollment_keys', 'agents', 'install_reports', 'commands', 'tunnel_sessions'] LOOP
    CALL protect(target::regclass, $rule$ tenant_id = (SELECT app_tenant()) AND (NOT (SELECT app_confined())
      OR client_id = ANY ((SELECT app_clients())::uuid[]) OR site_id = ANY ((SELECT app_sites())::uuid[])) $rule$);
  END LOOP;
  -- Nobody but the functions below touches these.
  FOREACH target IN ARRAY ARRAY['setup_tokens', 'auth_throttle', 'live_tickets'] LOOP
    CALL protect(target::regclass, 'false');
  END LOOP;
END
$$;

-- A partition reached by its own name must not be a way around its parent's rules.
ALTER TABLE metric_samples_30 ENABLE ROW LEVEL SECURITY;
ALTER TABLE metric_samples_90 ENABLE ROW LEVEL SECURITY;
ALTER TABLE metric_samples_365 ENABLE ROW LEVEL SECURITY;
ALTER TABLE metric_samples_1095 ENABLE ROW LEVEL SECURITY;

-- Grants ----------------------------------------------------------------------------------------------------

GRANT SELECT, INSERT, UPDATE ON partners TO gururmm_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON clients, sites, memberships, enrollment_keys, agents, commands, policies,
  alerts, tunnel_sessions, invitations TO gururmm_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON agent_status TO gururmm_app;
GRANT SELECT, INSERT ON users, command_output, install_reports, events, sessions TO gururmm_app;
-- is_platform_admin and the e-mail of an account are not the application's to change.
GRANT UPDATE (name, password_hash, status, last_sign_in_at) ON users TO gururmm_app;
GRANT UPDATE (tenant_id, last_used_at, expires_at, revoked_at) ON sessions TO gururmm_app;
GRANT SELECT ON metric_samples, audit_log TO gururmm_app;

-- Inserting an account: nobody is made platform admin by inserting.
CREATE POLICY app_invites ON users FOR INSERT TO gururmm_app
  WITH CHECK (NOT is_platform_admin AND status = 'invited' AND password_hash IS NULL AND (SELECT app_tenant()) IS NOT NULL);

-- Ingest: batches mix tenants; the tenant of each row comes from the authenticated session, never from a message.
GRANT INSERT ON metric_samples TO gururmm_ingest;
GRANT SELECT (agent_num, taken_at, retention_days) ON metric_samples TO gururmm_ingest;
GRANT SELECT (agent_id, last_sample_at), UPDATE ON agent_status TO gururmm_ingest;
CREATE POLICY ingest_writes ON metric_samples FOR INSERT TO gururmm_ingest WITH CHECK (true);
CREATE POLICY ingest_conflicts ON metric_samples FOR SELECT TO gururmm_ingest USING (true);
CREATE POLICY ingest_updates ON agent_status FOR UPDATE TO gururmm_ingest USING (true) WITH CHECK (true);
CREATE POLICY ingest_finds ON agent_status FOR SELECT TO gururmm_ingest USING (true);

-- Functions that run as the owner: what must be read or written before a tenant is known ------------------------

-- Is there anybody at all? While there is not, setup is open.
CREATE FUNCTION setup_is_open() RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ SELECT NOT EXISTS (SELECT 1 FROM users) $$;

CREATE FUNCTION setup_put_token(digest bytea, lifetime interval) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  INSERT INTO setup_tokens (token_digest, expires_at) SELECT digest, now() + lifetime
  WHERE NOT EXISTS (SELECT 1 FROM users)
  ON CONFLICT (only_one) DO UPDATE SET token_digest = excluded.token_digest, expires_at = excluded.expires_at
$$;

CREATE FUNCTION setup_token_is_valid(digest bytea) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT EXISTS (SELECT 1 FROM setup_tokens WHERE token_digest = digest AND expires_at > now())
    AND NOT EXISTS (SELECT 1 FROM users)
$$;

-- Makes the first account. The token dies with it; `digest` NULL is the administrator on the machine itself,
-- who owns the data folder. Raises when setup is over, so that two racing setups cannot both succeed.
CREATE FUNCTION setup_first_user(digest bytea, user_id uuid, user_email text, user_name text, user_password_hash text)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  LOCK TABLE users IN EXCLUSIVE MODE;
  IF EXISTS (SELECT 1 FROM users) THEN RETURN false; END IF;
  IF digest IS NOT NULL THEN
    DELETE FROM setup_tokens WHERE token_digest = digest AND expires_at > now();
    IF NOT FOUND THEN RETURN false; END IF;
  END IF;
  DELETE FROM setup_tokens;
  INSERT INTO users (id, email, name, password_hash, is_platform_admin, status)
  VALUES (user_id, user_email, user_name, user_password_hash, true, 'active');
  RETURN true;
END
$$;

CREATE FUNCTION lookup_login(user_email text) RETURNS TABLE (user_id uuid, password_hash text, status text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT u.id, u.password_hash, u.status FROM users u WHERE lower(u.email) = lower(user_email)
$$;

-- Who a session belongs to and what it may do. Nothing for a revoked, expired or suspended one.
CREATE FUNCTION lookup_session(digest bytea) RETURNS TABLE (
  session_id uuid, user_id uuid, user_name text, kind text, tenant_id uuid, is_platform_admin boolean, role text,
  client_ids uuid[], site_ids uuid[], parent_client_ids uuid[], expires_at timestamptz, last_used_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT s.id, u.id, u.name, s.kind, m.tenant_id, u.is_platform_admin, m.role,
    coalesce(m.client_ids, '{}'), coalesce(m.site_ids, '{}'),
    coalesce((SELECT array_agg(DISTINCT site.client_id) FROM sites site WHERE site.id = ANY (m.site_ids)), '{}'),
    s.expires_at, s.last_used_at
  FROM sessions s
  JOIN users u ON u.id = s.user_id AND u.status = 'active'
  LEFT JOIN (memberships m JOIN partners p ON p.id = m.tenant_id AND p.status = 'active')
    ON m.user_id = s.user_id AND m.tenant_id = s.tenant_id AND m.status = 'active'
  WHERE s.token_digest = digest AND s.revoked_at IS NULL AND s.expires_at > now()
$$;

CREATE FUNCTION put_live_ticket(digest bytea, session uuid, lifetime interval) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  DELETE FROM live_tickets WHERE expires_at < now();
  INSERT INTO live_tickets (token_digest, session_id, expires_at) VALUES (digest, session, now() + lifetime)
$$;

-- Single use: taking a ticket deletes it. Answers the session's token digest, to be looked up like any other.
CREATE FUNCTION take_live_ticket(digest bytea) RETURNS bytea
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  WITH taken AS (DELETE FROM live_tickets WHERE token_digest = digest AND expires_at > now() RETURNING session_id)
  SELECT s.token_digest FROM taken JOIN sessions s ON s.id = taken.session_id
$$;

CREATE FUNCTION lookup_invitation(digest bytea)
RETURNS TABLE (invitation_id uuid, tenant_id uuid, user_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT i.id, i.tenant_id, i.user_id FROM invitations i JOIN partners p ON p.id = i.tenant_id AND p.status = 'active'
  WHERE i.token_digest = digest AND i.used_at IS NULL AND i.expires_at > now()
$$;

-- The account behind an e-mail address, for an invitation to one who works for another partner already.
CREATE FUNCTION lookup_user_by_email(user_email text) RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ SELECT id FROM users WHERE lower(email) = lower(user_email) $$;

CREATE FUNCTION lookup_enrollment_key(site_code text, key_version integer) RETURNS TABLE (
  key_id uuid, tenant_id uuid, client_id uuid, site_id uuid, key_hash text, approval_required boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT k.id, k.tenant_id, k.client_id, k.site_id, k.key_hash, s.approval_required
  FROM sites s
  JOIN enrollment_keys k ON k.site_id = s.id AND k.version = key_version
  JOIN partners p ON p.id = s.tenant_id AND p.status = 'active'
  WHERE s.code = site_code AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
$$;

CREATE FUNCTION lookup_site(site_code text) RETURNS TABLE (tenant_id uuid, client_id uuid, site_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ SELECT s.tenant_id, s.client_id, s.id FROM sites s WHERE s.code = site_code $$;

CREATE FUNCTION lookup_agent(agent uuid) RETURNS TABLE (
  tenant_id uuid, client_id uuid, site_id uuid, num bigint, state text, key_digest bytea, digest_key_id text,
  retention_days smallint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT a.tenant_id, a.client_id, a.site_id, a.num, a.state, a.key_digest, a.digest_key_id, p.retention_days
  FROM agents a JOIN partners p ON p.id = a.tenant_id AND p.status = 'active'
  WHERE a.id = agent AND a.key_revoked_at IS NULL
$$;

-- Tenants that background work goes through, one at a time.
CREATE FUNCTION list_tenants() RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$ SELECT id FROM partners ORDER BY id $$;

-- At start nobody is connected to this process yet.
CREATE FUNCTION reset_presence() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS
$$ UPDATE agent_status SET is_connected = false, connected_since = NULL WHERE is_connected $$;

-- Old events and dead sessions, of all tenants.
CREATE FUNCTION prune_expired() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  DELETE FROM events WHERE created_at < now() - interval '7 days';
  DELETE FROM sessions WHERE expires_at < now() - interval '30 days' OR revoked_at < now() - interval '30 days';
  DELETE FROM invitations WHERE expires_at < now() - interval '30 days';
  DELETE FROM install_reports WHERE reported_at < now() - interval '90 days';
  DELETE FROM auth_throttle WHERE window_started_at < now() - interval '1 day' AND (locked_until IS NULL OR locked_until < now());
$$;

-- Sign-in throttle: counts a failure and answers until when the key is locked (NULL: not). The lock grows
-- with every round: `lock_for` at `max_failures`, twice that at twice as many, at most a day.
CREATE FUNCTION throttle_failure(throttle_key bytea, max_failures integer, window_length interval, lock_for interval)
RETURNS timestamptz LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  INSERT INTO auth_throttle AS t (key, failures, window_started_at) VALUES (throttle_key, 1, now())
  ON CONFLICT (key) DO UPDATE SET
    failures = CASE WHEN t.window_started_at + window_length < now() AND (t.locked_until IS NULL OR t.locked_until < now())
      THEN 1 ELSE t.failures + 1 END,
    window_started_at = CASE WHEN t.window_started_at + window_length < now() AND (t.locked_until IS NULL OR t.locked_until < now())
      THEN now() ELSE t.window_started_at END,
    locked_until = CASE WHEN t.failures + 1 >= max_failures AND NOT (t.window_started_at + window_length < now())
      THEN now() + least(lock_for * ((t.failures + 1) / max_failures), interval '1 day') ELSE t.locked_until END
  RETURNING locked_until
$$;

CREATE FUNCTION throttle_locked_until(throttle_key bytea) RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ SELECT locked_until FROM auth_throttle WHERE key = throttle_key AND locked_until > now() $$;

CREATE FUNCTION throttle_clear(throttle_key bytea) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS
$$ DELETE FROM auth_throttle WHERE key = throttle_key $$;

-- Audit: the chain ------------------------------------------------------------------------------------------

CREATE FUNCTION audit_entry_hash(e audit_log) RETURNS bytea LANGUAGE sql STABLE AS $$
  SELECT sha256(convert_to(jsonb_build_array(encode(e.prev_hash, 'hex'), e.tenant_id, e.seq, e.id,
    extract(epoch FROM e.at)::text, e.actor_kind, e.actor_id, e.actor_name, e.action, e.target_kind, e.target_id,
    e.target_name, e.detail, host(e.ip), e.request_id)::text, 'UTF8'))
$$;

-- Appends to the chain of the transaction's tenant (the platform's when there is none). The head row is locked
-- until commit, so entries of one tenant are in commit order and the chain has no gaps.
CREATE FUNCTION audit_append(entry_id uuid, kind text, actor uuid, actor_label text, what text, on_kind text,
  on_id uuid, on_name text, details jsonb, from_ip inet, request text)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  chain uuid := coalesce(app_tenant(), '00000000-0000-0000-0000-000000000000');
  head audit_heads;
  entry audit_log;
BEGIN
  INSERT INTO audit_heads (tenant_id, seq, hash) VALUES (chain, 0, '\x') ON CONFLICT DO NOTHING;
  SELECT * INTO head FROM audit_heads WHERE tenant_id = chain FOR UPDATE;
  entry := ROW(chain, head.seq + 1, entry_id, clock_timestamp(), kind, actor, actor_label, what, on_kind, on_id, on_name,
    details, from_ip, request, head.hash, '\x'::bytea);
  entry.hash := audit_entry_hash(entry);
  INSERT INTO audit_log SELECT (entry).*;
  UPDATE audit_heads SET seq = entry.seq, hash = entry.hash WHERE tenant_id = chain;
  RETURN entry.seq;
END
$$;

-- Walks the chain of the transaction's tenant. first_bad is the first entry that was changed, inserted, moved or
-- follows a deleted one; when only the tail is cut, it is the number after the last entry.
CREATE FUNCTION audit_verify() RETURNS TABLE (entries bigint, head text, first_bad bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  WITH chain AS (SELECT coalesce(app_tenant(), '00000000-0000-0000-0000-000000000000'::uuid) AS id),
  walked AS (
    SELECT l.seq, l.hash, l.hash <> audit_entry_hash(l)
      OR l.prev_hash <> lag(l.hash, 1, '\x'::bytea) OVER w
      OR l.seq <> lag(l.seq, 1, 0::bigint) OVER w + 1 AS bad
    FROM audit_log l, chain WHERE l.tenant_id = chain.id WINDOW w AS (ORDER BY l.seq)),
  last AS (SELECT seq, hash FROM walked ORDER BY seq DESC LIMIT 1)
  SELECT (SELECT count(*) FROM walked), encode(h.hash, 'hex'),
    coalesce((SELECT min(seq) FROM walked WHERE bad),
      CASE WHEN h.seq IS DISTINCT FROM (SELECT seq FROM last) AND (h.seq > 0 OR EXISTS (SELECT 1 FROM last))
             OR (SELECT hash FROM last) IS DISTINCT FROM CASE WHEN h.seq > 0 THEN h.hash END
        THEN coalesce((SELECT seq FROM last), 0) + 1 END)
  FROM chain LEFT JOIN audit_heads h ON h.tenant_id = chain.id
$$;

-- Partitions ------------------------------------------------------------------------------------------------

-- Makes the partitions of every class for the given time span. A class of weeks has daily partitions, one of
-- months weekly ones, one of years monthly ones.
CREATE FUNCTION ensure_metric_partitions(from_time timestamptz, to_time timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  class record;
  start_at timestamptz;
  name text;
  made integer := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('gururmm.metric_partitions'));
  FOR class IN SELECT * FROM (VALUES (30, 'day'), (90, 'week'), (365, 'month'), (1095, 'month')) AS c (days, unit) LOOP
    start_at := date_trunc(class.unit, from_time);
    WHILE start_at <= to_time LOOP
      name := format('metric_samples_%s_%s', class.days, to_char(start_at, 'YYYYMMDD'));
      IF to_regclass(name) IS NULL THEN
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', name,
          'metric_samples_' || class.days, start_at, start_at + ('1 ' || class.unit)::interval);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        made := made + 1;
      END IF;
      start_at := start_at + ('1 ' || class.unit)::interval;
    END LOOP;
  END LOOP;
  RETURN made;
END
$$;

-- Drops partitions that ended before their class's retention.
CREATE FUNCTION drop_expired_metric_partitions(now_is timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  class record;
  part record;
  dropped integer := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('gururmm.metric_partitions'));
  FOR class IN SELECT * FROM (VALUES (30, 'day'), (90, 'week'), (365, 'month'), (1095, 'month')) AS c (days, unit) LOOP
    FOR part IN SELECT c.relname AS name, to_timestamp(right(c.relname, 8), 'YYYYMMDD') AS start_at
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
      WHERE i.inhparent = ('metric_samples_' || class.days)::regclass LOOP
      IF part.start_at + ('1 ' || class.unit)::interval <= now_is - make_interval(days => class.days) THEN
        EXECUTE format('DROP TABLE %I', part.name);
        dropped := dropped + 1;
      END IF;
    END LOOP;
  END LOOP;
  RETURN dropped;
END
$$;

GRANT EXECUTE ON FUNCTION setup_is_open(), setup_put_token(bytea, interval), setup_token_is_valid(bytea),
  setup_first_user(bytea, uuid, text, text, text), lookup_login(text), lookup_session(bytea),
  put_live_ticket(bytea, uuid, interval), take_live_ticket(bytea), lookup_invitation(bytea),
  lookup_user_by_email(text), lookup_enrollment_key(text, integer), lookup_site(text), lookup_agent(uuid),
  list_tenants(), reset_presence(), prune_expired(), throttle_failure(bytea, integer, interval, interval),
  throttle_locked_until(bytea), throttle_clear(bytea),
  audit_append(uuid, text, uuid, text, text, text, uuid, text, jsonb, inet, text), audit_verify(),
  ensure_metric_partitions(timestamptz, timestamptz), drop_expired_metric_partitions(timestamptz)
  TO gururmm_app;
GRANT EXECUTE ON FUNCTION ensure_metric_partitions(timestamptz, timestamptz) TO gururmm_ingest;
