-- What is handed over when two records of one machine are merged (0013), with the updates of 0014.
CREATE OR REPLACE FUNCTION merge_agent_history(kept uuid, other uuid) RETURNS void
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
  -- An update that is under way is another machine's from now on.
  UPDATE agent_updates SET status = 'superseded', ended_at = now(), changed_at = now()
    WHERE agent_id = o.id AND ended_at IS NULL;
  UPDATE agent_updates SET agent_id = k.id WHERE agent_id = o.id;
  -- Where both have a sample of one moment, the kept agent's stays.
  UPDATE metric_samples m SET agent_num = k.num WHERE agent_num = o.num AND tenant_id = k.tenant_id
    AND NOT EXISTS (SELECT 1 FROM metric_samples s WHERE s.agent_num = k.num AND s.taken_at = m.taken_at
      AND s.retention_days = m.retention_days);
  UPDATE agent_aliases SET agent_id = k.id WHERE agent_id = o.id;
END
$$;
