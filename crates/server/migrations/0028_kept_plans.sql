-- Who a request comes from is asked with every request, and who an agent is with every connection. A function in SQL is
-- planned anew each time it is called; one in PL/pgSQL keeps its plan for as long as the connection lives, and takes a tenth
-- to a quarter of the time. They answer as before.

CREATE OR REPLACE FUNCTION lookup_session(digest bytea) RETURNS TABLE (
  session_id uuid, user_id uuid, user_name text, kind text, tenant_id uuid, is_platform_admin boolean, role text,
  client_ids uuid[], site_ids uuid[], parent_client_ids uuid[], expires_at timestamptz, last_used_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    SELECT s.id, u.id, u.name, s.kind, m.tenant_id, u.is_platform_admin, m.role,
      coalesce(m.client_ids, '{}'), coalesce(m.site_ids, '{}'),
      coalesce((SELECT array_agg(DISTINCT site.client_id) FROM sites site WHERE site.id = ANY (m.site_ids)), '{}'),
      s.expires_at, s.last_used_at
    FROM sessions s
    JOIN users u ON u.id = s.user_id AND u.status = 'active'
    LEFT JOIN (memberships m JOIN partners p ON p.id = m.tenant_id AND p.status = 'active')
      ON m.user_id = s.user_id AND m.tenant_id = s.tenant_id AND m.status = 'active'
    WHERE s.token_digest = digest AND s.revoked_at IS NULL AND s.expires_at > now();
END
$$;

CREATE OR REPLACE FUNCTION lookup_agent(agent uuid) RETURNS TABLE (
  tenant_id uuid, client_id uuid, site_id uuid, num bigint, state text, key_digest bytea, digest_key_id text,
  retention_days smallint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    SELECT a.tenant_id, a.client_id, a.site_id, a.num, a.state, a.key_digest, a.digest_key_id, p.retention_days
    FROM agents a JOIN partners p ON p.id = a.tenant_id AND p.status = 'active'
    WHERE a.id = agent AND a.key_revoked_at IS NULL;
END
$$;
