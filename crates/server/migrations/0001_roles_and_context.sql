-- Roles. The migrating role owns everything. gururmm_app is what the server works as: it owns nothing and
-- bypasses nothing. gururmm_ingest is a hat the application puts on for batches that mix tenants.
-- Roles belong to the cluster, so another database may have made them already, or be making them right now.
DO $$
BEGIN
  BEGIN
    CREATE ROLE gururmm_app NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS LOGIN;
  EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
  END;
  BEGIN
    CREATE ROLE gururmm_ingest NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS NOLOGIN;
  EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
  END;
  BEGIN
    GRANT gururmm_ingest TO gururmm_app;
  EXCEPTION WHEN unique_violation THEN NULL;
  END;
END
$$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO gururmm_app, gururmm_ingest;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- The context of a transaction, set by db::begin with set_config(..., true). After a transaction a setting
-- reads as '' and not as NULL, hence nullif everywhere.
CREATE FUNCTION app_tenant() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT nullif(current_setting('app.tenant_id', true), '')::uuid $$;

CREATE FUNCTION app_user() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT nullif(current_setting('app.user_id', true), '')::uuid $$;

-- Platform-wide work: partners are listed and made, platform policy is written.
CREATE FUNCTION app_platform() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT coalesce(nullif(current_setting('app.platform', true), ''), 'off') = 'on' $$;

-- A membership that is confined to some clients and sites sees only those.
CREATE FUNCTION app_confined() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT coalesce(nullif(current_setting('app.confined', true), ''), 'off') = 'on' $$;

CREATE FUNCTION app_clients() RETURNS uuid[] LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT coalesce(string_to_array(nullif(current_setting('app.client_ids', true), ''), ',')::uuid[], '{}') $$;

CREATE FUNCTION app_sites() RETURNS uuid[] LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT coalesce(string_to_array(nullif(current_setting('app.site_ids', true), ''), ',')::uuid[], '{}') $$;

-- Clients that hold a visible site: their names show, the rest of them does not.
CREATE FUNCTION app_parent_clients() RETURNS uuid[] LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT coalesce(string_to_array(nullif(current_setting('app.parent_client_ids', true), ''), ',')::uuid[], '{}') $$;

GRANT EXECUTE ON FUNCTION app_tenant(), app_user(), app_platform(), app_confined(), app_clients(), app_sites(),
  app_parent_clients() TO gururmm_app, gururmm_ingest;

-- Puts a table under forced row-level security: `rule` holds for the application for reading and writing, and
-- the owner sees all (FORCE binds owners too, and migrations must be able to backfill).
CREATE PROCEDURE protect(target regclass, rule text) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
  EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
  EXECUTE format('CREATE POLICY owner_all ON %s TO CURRENT_USER USING (true) WITH CHECK (true)', target);
  EXECUTE format('CREATE POLICY app_context ON %s TO gururmm_app USING (%s) WITH CHECK (%s)', target, rule, rule);
END
$$;
