-- What an agent that comes back asks of the database, in one statement each: thousands come back at once. They work as their
-- caller, under row-level security, and name the partner of their transaction first, as every transaction does.

CREATE FUNCTION begin_agent_session(tenant uuid, agent uuid, node uuid) RETURNS TABLE (epoch bigint, held_by uuid)
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant_id', tenant::text, true);
  RETURN QUERY
    UPDATE agents a SET session_epoch = a.session_epoch + 1 WHERE a.id = agent AND a.state = 'active'
    RETURNING a.session_epoch, (SELECT s.node_id FROM agent_status s
      WHERE s.agent_id = a.id AND s.is_connected AND s.node_id <> node);
  IF FOUND THEN
    INSERT INTO agent_status (agent_id, tenant_id) VALUES (agent, tenant) ON CONFLICT DO NOTHING;
  END IF;
END
$$;

-- The policies that hold for the agent, most general first, and what of its hello is news. No row: it had a later session
-- since, lost its key, or was deleted.
CREATE FUNCTION agent_says_hello(tenant uuid, agent uuid, epoch bigint, said_hostname text, said_os_type text,
  said_os_version text, said_arch text, said_version text, said_protocol text, said_system jsonb, said_machine_type text,
  said_uid text, said_update_supported boolean, said_update_reason text, said_update_previous text)
RETURNS TABLE (settings jsonb, is_other_machine boolean, has_commands boolean, has_log boolean, has_update boolean,
  has_uninstall boolean)
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant_id', tenant::text, true);
  RETURN QUERY
    SELECT
      (SELECT jsonb_agg(p.settings ORDER BY
           array_position(ARRAY['platform', 'partner', 'client', 'site', 'agent'], p.scope))
         FROM policies p WHERE p.scope = 'platform'
           OR (p.tenant_id = a.tenant_id AND (p.scope = 'partner' OR (p.scope = 'client' AND p.client_id = a.client_id)
             OR (p.scope = 'site' AND p.site_id = a.site_id) OR (p.scope = 'agent' AND p.agent_id = a.id)))),
      (a.hostname, a.os_type, a.os_version, a.arch, a.agent_version, a.protocol_version, a.system, a.machine_type)
          IS DISTINCT FROM (said_hostname, said_os_type, said_os_version, said_arch, said_version, said_protocol,
            said_system, said_machine_type)
        OR said_uid NOT IN (a.machine_uid, coalesce(a.shared_uid, a.machine_uid)),
      EXISTS (SELECT FROM commands c WHERE c.agent_id = a.id AND c.status IN ('queued', 'sent', 'running')),
      EXISTS (SELECT FROM agent_logs l WHERE l.agent_id = a.id AND l.status = 'requested'),
      EXISTS (SELECT FROM agent_updates u WHERE u.agent_id = a.id AND u.ended_at IS NULL)
        OR (said_update_supported, said_update_reason, said_update_previous)
          IS DISTINCT FROM (b.supported, b.reason, b.previous_version),
      EXISTS (SELECT FROM agent_uninstalls r WHERE r.agent_id = a.id AND r.ended_at IS NULL)
    FROM agents a LEFT JOIN agent_update_abilities b ON b.agent_id = a.id
    WHERE a.id = agent AND a.state = 'active' AND a.session_epoch = epoch;
END
$$;

GRANT EXECUTE ON FUNCTION begin_agent_session(uuid, uuid, uuid), agent_says_hello(uuid, uuid, bigint, text, text, text, text,
  text, text, jsonb, text, text, boolean, text, text) TO gururmm_app;
