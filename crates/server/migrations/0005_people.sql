-- People: invitations that wait for an answer, locks that grow, and two lookups of one's own.

-- A membership that its person has not accepted yet opens nothing (every lookup asks for 'active').
ALTER TABLE memberships DROP CONSTRAINT memberships_status;
ALTER TABLE memberships ADD CONSTRAINT memberships_status CHECK (status IN ('invited', 'active', 'suspended'));
-- What the inviter called the person: the account's own name shows only once its owner has accepted.
ALTER TABLE memberships ADD COLUMN invited_name text
  CONSTRAINT memberships_invited_name_length CHECK (char_length(invited_name) BETWEEN 1 AND 120);

-- How often in a row the key was locked.
ALTER TABLE auth_throttle ADD COLUMN rounds integer NOT NULL DEFAULT 0;

-- Counts a failure and answers until when the key is locked (NULL: not). The first lock lasts `lock_for`, each
-- further one within a day of the last twice as long, at most a day. A failure while locked changes nothing, so
-- that nobody keeps an account locked by going on.
CREATE OR REPLACE FUNCTION throttle_failure(throttle_key bytea, max_failures integer, window_length interval, lock_for interval)
RETURNS timestamptz LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  t auth_throttle;
BEGIN
  INSERT INTO auth_throttle (key, failures, window_started_at) VALUES (throttle_key, 0, now()) ON CONFLICT DO NOTHING;
  SELECT * INTO t FROM auth_throttle WHERE key = throttle_key FOR UPDATE;
  IF t.locked_until > now() THEN RETURN t.locked_until; END IF;
  IF t.locked_until + interval '1 day' < now() THEN t.rounds := 0; END IF;
  IF t.window_started_at + window_length < now() THEN
    t.failures := 0;
    t.window_started_at := now();
  END IF;
  t.failures := t.failures + 1;
  IF t.failures >= max_failures THEN
    t.locked_until := now() + least(lock_for * power(2, least(t.rounds, 10)), interval '1 day');
    t.rounds := t.rounds + 1;
    t.failures := 0;
  END IF;
  UPDATE auth_throttle SET failures = t.failures, window_started_at = t.window_started_at,
    locked_until = t.locked_until, rounds = t.rounds WHERE key = throttle_key;
  RETURN CASE WHEN t.locked_until > now() THEN t.locked_until END;
END
$$;

-- Which of these keys are locked, for a list of people.
CREATE FUNCTION throttle_locked(throttle_keys bytea[]) RETURNS TABLE (key bytea, locked_until timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ SELECT t.key, t.locked_until FROM auth_throttle t WHERE t.key = ANY (throttle_keys) AND t.locked_until > now() $$;

-- Where the transaction's person is a member: row-level security shows a transaction the partner it works in only.
CREATE FUNCTION own_partners() RETURNS TABLE (id uuid, name text, role text, is_confined boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT p.id, p.name, m.role, cardinality(m.client_ids) + cardinality(m.site_ids) > 0
  FROM memberships m JOIN partners p ON p.id = m.tenant_id AND p.status = 'active'
  WHERE m.user_id = app_user() AND m.status = 'active' ORDER BY m.created_at, m.id
$$;

-- Whether a member of the transaction's partner is one of another partner too: then its account is nobody's to edit.
CREATE FUNCTION is_shared_account(member uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT EXISTS (SELECT 1 FROM memberships WHERE user_id = member AND tenant_id = app_tenant())
    AND EXISTS (SELECT 1 FROM memberships WHERE user_id = member AND tenant_id <> app_tenant())
$$;

GRANT EXECUTE ON FUNCTION throttle_locked(bytea[]), own_partners(), is_shared_account(uuid) TO gururmm_app;
