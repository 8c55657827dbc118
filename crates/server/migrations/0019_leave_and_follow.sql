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

-- Where agents are to find their server: signed records of the whole installation, of which the newest stands unless it
-- was withdrawn. They are no partner's, so they are reached by functions only.
CREATE TABLE follow_records (
  serial bigint PRIMARY KEY CONSTRAINT follow_records_serial CHECK (serial > 0),
  server_url text NOT NULL,
  ca_fingerprint text,
  not_before timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  -- The very text that was signed.
  record text NOT NULL,
  signature bytea NOT NULL,
  set_at timestamptz NOT NULL DEFAULT now(),
  set_by text NOT NULL,
  withdrawn_at timestamptz
);
CALL protect('follow_records', 'false');

CREATE FUNCTION standing_follow_record() RETURNS SETOF follow_records
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT * FROM follow_records r WHERE r.serial = (SELECT max(serial) FROM follow_records) AND r.withdrawn_at IS NULL
$$;

-- The serial of the record that is about to be signed; until the transaction ends nobody else gets one.
CREATE FUNCTION next_follow_serial() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  IF NOT app_platform() THEN RETURN NULL; END IF;
  LOCK TABLE follow_records IN EXCLUSIVE MODE;
  RETURN (SELECT coalesce(max(serial), 0) + 1 FROM follow_records);
END
$$;

CREATE FUNCTION put_follow_record(new_serial bigint, url text, fingerprint text, begins timestamptz, ends timestamptz,
  signed_text text, signed_with bytea, by_whom text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  IF NOT app_platform() THEN RETURN false; END IF;
  INSERT INTO follow_records (serial, server_url, ca_fingerprint, not_before, expires_at, record, signature, set_by)
    VALUES (new_serial, url, fingerprint, begins, ends, signed_text, signed_with, by_whom);
  RETURN true;
END
$$;

-- False when none stands.
CREATE FUNCTION withdraw_follow_record() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  IF NOT app_platform() THEN RETURN false; END IF;
  UPDATE follow_records SET withdrawn_at = now() WHERE serial = (SELECT serial FROM standing_follow_record());
  RETURN FOUND;
END
$$;

-- What each agent said last of such a record.
CREATE TABLE agent_follows (
  agent_id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL,
  serial bigint NOT NULL,
  state text NOT NULL CONSTRAINT agent_follows_state CHECK (state IN ('confirmed', 'reverted', 'refused')),
  error_code text,
  error text,
  changed_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT agent_follows_agent_fk FOREIGN KEY (tenant_id, agent_id) REFERENCES agents (tenant_id, id) ON DELETE CASCADE
);
CALL protect('agent_follows', $$ EXISTS (SELECT 1 FROM agents a WHERE a.id = agent_follows.agent_id) $$);
GRANT SELECT, INSERT, UPDATE, DELETE ON agent_follows TO gururmm_app;

-- What became of a record on the machines of all partners: figures, and no machine.
CREATE FUNCTION follow_fleet(of_serial bigint) RETURNS TABLE (state text, error_code text, error text, agents bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT f.state, f.error_code, max(f.error), count(*)
  FROM agents a LEFT JOIN agent_follows f ON f.agent_id = a.id AND f.serial = of_serial
  WHERE a.state = 'active' AND (SELECT app_platform())
  GROUP BY f.state, f.error_code ORDER BY count(*) DESC
$$;
GRANT EXECUTE ON FUNCTION standing_follow_record(), next_follow_serial(), withdraw_follow_record(), follow_fleet(bigint),
  put_follow_record(bigint, text, text, timestamptz, timestamptz, text, bytea, text) TO gururmm_app;
