-- Protocol versions that this server does not speak any more: their fleet had come to nothing.
CREATE TABLE retired_protocols (
  version text PRIMARY KEY CONSTRAINT retired_protocols_version CHECK (version ~ '^[0-9]{1,5}\.[0-9]{1,5}$'),
  retired_at timestamptz NOT NULL DEFAULT now()
);
CALL protect('retired_protocols', 'false');

CREATE FUNCTION list_retired_protocols() RETURNS TABLE (version text, retired_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ SELECT version, retired_at FROM retired_protocols ORDER BY version $$;

-- How many machines of all partners spoke which version when they last connected: figures, and no machine.
CREATE FUNCTION protocol_fleet() RETURNS TABLE (version text, agents bigint, connected bigint, last_seen timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT a.protocol_version, count(*), count(*) FILTER (WHERE s.is_connected), max(s.last_seen)
  FROM agents a LEFT JOIN agent_status s ON s.agent_id = a.id
  WHERE a.state = 'active' AND a.protocol_version IS NOT NULL AND (SELECT app_platform())
  GROUP BY a.protocol_version
$$;

-- Retires a version; false while any machine speaks it.
CREATE FUNCTION retire_protocol(old_version text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  IF NOT app_platform() OR EXISTS (SELECT 1 FROM agents WHERE state = 'active' AND protocol_version = old_version) THEN
    RETURN false;
  END IF;
  INSERT INTO retired_protocols (version) VALUES (old_version) ON CONFLICT DO NOTHING;
  RETURN true;
END
$$;
GRANT EXECUTE ON FUNCTION list_retired_protocols(), protocol_fleet(), retire_protocol(text) TO gururmm_app;
