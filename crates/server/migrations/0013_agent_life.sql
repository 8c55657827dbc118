-- A machine's life after it enrolled: retired and brought back, merged with its duplicate, and what someone who decides
-- about a newcomer has to see.

-- Retired: out of every list and count, its key refused, its history kept for the partner's class of days.
ALTER TABLE agents DROP CONSTRAINT agents_state;
ALTER TABLE agents ADD CONSTRAINT agents_state CHECK (state IN ('active', 'pending', 'rejected', 'retired'));
ALTER TABLE agents ADD COLUMN retired_at timestamptz;
ALTER TABLE agents ADD COLUMN retired_by uuid REFERENCES users (id);
ALTER TABLE agents ADD CONSTRAINT agents_retired CHECK ((state = 'retired') = (retired_at IS NOT NULL));
CREATE INDEX agents_retired_oldest ON agents (tenant_id, retired_at) WHERE state = 'retired';

-- From where, and when, a machine last asked to be let in.
ALTER TABLE agents ADD COLUMN asked_from inet;
ALTER TABLE agents ADD COLUMN asked_at timestamptz;
CREATE INDEX agents_waiting ON agents (tenant_id, id) WHERE state = 'pending';

-- The enrollment slice publishes how people call a key, never its hash.
CREATE VIEW enrollment_key_directory WITH (security_invoker = true) AS
  SELECT id, version, fingerprint, kind, note FROM enrollment_keys;
GRANT SELECT ON enrollment_key_directory TO gururmm_app;

-- Hands everything that is known of one agent to another of the same partner. Samples are the owner's to change, and so
-- is this: the caller has locked both agents under its own row-level security, and writes the audit entry.
CREATE FUNCTION merge_agent_history(kept uuid, other uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  k agents;
  o agents;
BEGIN
  SELECT * INTO k FROM agents WHERE id = kept AND tenant_id = app_tenant();
  SELECT * INTO o FROM agents WHERE id = other AND tenant_id = app_tenant();
  IF k.id IS NULL OR o.id IS NULL OR k.id = o.id THEN
    RAISE EXCEPTION 'both must be agents of the transaction''s partner';
  END IF;
  UPDATE commands SET agent_id = k.id, client_id = k.client_id, site_id = k.site_id WHERE agent_id = o.id;
  UPDATE alerts SET agent_id = k.id, client_id = k.client_id, site_id = k.site_id WHERE agent_id = o.id;
  -- One open session of a person with a machine; the other's ends with the other.
  UPDATE tunnel_sessions SET status = 'closed', closed_at = now() WHERE agent_id = o.id AND status = 'active';
  UPDATE tunnel_sessions SET agent_id = k.id, client_id = k.client_id, site_id = k.site_id WHERE agent_id = o.id;
  -- A log that is on its way comes from a machine that is another one from now on.
  UPDATE agent_logs SET status = 'failed', ended_at = now(), error = 'the machine was merged with another'
    WHERE agent_id = o.id AND status = 'requested';
  UPDATE agent_logs SET agent_id = k.id WHERE agent_id = o.id;
  UPDATE agent_crashes c SET agent_id = k.id WHERE agent_id = o.id
    AND NOT EXISTS (SELECT 1 FROM agent_crashes d WHERE d.agent_id = k.id AND d.crash_id = c.crash_id);
  -- Where both have a sample of one moment, the kept agent's stays.
  UPDATE metric_samples m SET agent_num = k.num WHERE agent_num = o.num AND tenant_id = k.tenant_id
    AND NOT EXISTS (SELECT 1 FROM metric_samples s WHERE s.agent_num = k.num AND s.taken_at = m.taken_at
      AND s.retention_days = m.retention_days);
  UPDATE agent_aliases SET agent_id = k.id WHERE agent_id = o.id;
END
$$;
GRANT EXECUTE ON FUNCTION merge_agent_history(uuid, uuid) TO gururmm_app;
