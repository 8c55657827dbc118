-- History: the samples of an hour that is over are packed into one row of their agent, and rolled up. Every key begins with
-- the partner, which a distributed PostgreSQL places rows by.

-- A hat for the job that packs: it takes samples away and writes history, in one partner at a time.
DO $$
BEGIN
  BEGIN
    CREATE ROLE gururmm_history NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS NOLOGIN;
  EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
  END;
  BEGIN
    GRANT gururmm_history TO gururmm_app;
  EXCEPTION WHEN unique_violation THEN NULL;
  END;
END
$$;
GRANT USAGE ON SCHEMA public TO gururmm_history;
GRANT EXECUTE ON FUNCTION app_tenant() TO gururmm_history;

ALTER TABLE metric_samples DROP CONSTRAINT metric_samples_pkey;
ALTER TABLE metric_samples ADD PRIMARY KEY (tenant_id, agent_num, taken_at, retention_days);
-- Who is not confined sees all machines of the partner: no machine needs to be looked up for it.
ALTER POLICY app_context ON metric_samples
  USING (tenant_id = (SELECT app_tenant()) AND (NOT (SELECT app_confined())
    OR EXISTS (SELECT 1 FROM agents a WHERE a.num = metric_samples.agent_num)))
  WITH CHECK (tenant_id = (SELECT app_tenant()) AND (NOT (SELECT app_confined())
    OR EXISTS (SELECT 1 FROM agents a WHERE a.num = metric_samples.agent_num)));

-- The samples of one agent and hour, as `telemetry/history/pack.rs` writes them: `figures` is what charts draw, `details` the
-- rest, with processes by their ids in process_names.
CREATE TABLE metric_hours (
  tenant_id uuid NOT NULL,
  agent_num bigint NOT NULL,
  hour timestamptz NOT NULL,
  retention_days smallint NOT NULL,
  -- Whose samples they were: another agent's after two records of one machine were merged.
  measured_by bigint NOT NULL,
  samples integer NOT NULL,
  first_at timestamptz NOT NULL,
  figures bytea NOT NULL,
  details bytea NOT NULL,
  PRIMARY KEY (tenant_id, agent_num, hour, retention_days, measured_by)
) PARTITION BY LIST (retention_days);
-- Compressed already.
ALTER TABLE metric_hours ALTER COLUMN figures SET STORAGE EXTERNAL, ALTER COLUMN details SET STORAGE EXTERNAL;
CREATE TABLE metric_hours_30 PARTITION OF metric_hours FOR VALUES IN (30) PARTITION BY RANGE (hour);
CREATE TABLE metric_hours_90 PARTITION OF metric_hours FOR VALUES IN (90) PARTITION BY RANGE (hour);
CREATE TABLE metric_hours_365 PARTITION OF metric_hours FOR VALUES IN (365) PARTITION BY RANGE (hour);
CREATE TABLE metric_hours_1095 PARTITION OF metric_hours FOR VALUES IN (1095) PARTITION BY RANGE (hour);

-- Averages, least and most. A row holds the buckets of an hour at 300 seconds, of a day at 3600, of a month at 86400.
-- They outlive the samples, so they have a retention of their own.
CREATE TABLE metric_rollups (
  tenant_id uuid NOT NULL,
  agent_num bigint NOT NULL,
  bucket_seconds integer NOT NULL CONSTRAINT metric_rollups_bucket CHECK (bucket_seconds IN (300, 3600, 86400)),
  starts_at timestamptz NOT NULL,
  -- The class of the samples, and how long this row is kept.
  retention_days smallint NOT NULL,
  keep_days smallint NOT NULL,
  measured_by bigint NOT NULL,
  buckets bytea NOT NULL,
  PRIMARY KEY (tenant_id, agent_num, bucket_seconds, starts_at, retention_days, measured_by, keep_days)
) PARTITION BY LIST (keep_days);
ALTER TABLE metric_rollups ALTER COLUMN buckets SET STORAGE EXTERNAL;
CREATE TABLE metric_rollups_90 PARTITION OF metric_rollups FOR VALUES IN (90) PARTITION BY RANGE (starts_at);
CREATE TABLE metric_rollups_365 PARTITION OF metric_rollups FOR VALUES IN (365) PARTITION BY RANGE (starts_at);
CREATE TABLE metric_rollups_1095 PARTITION OF metric_rollups FOR VALUES IN (1095) PARTITION BY RANGE (starts_at);

-- What processes are called, once per partner.
CREATE TABLE process_names (
  tenant_id uuid NOT NULL,
  id bigint GENERATED ALWAYS AS IDENTITY,
  -- The beginning of BLAKE3 over the three.
  digest bytea NOT NULL,
  name text NOT NULL,
  username text NOT NULL,
  command_line text NOT NULL,
  -- No sample that is older names it.
  keep_until timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id),
  CONSTRAINT process_names_digest_key UNIQUE (tenant_id, digest)
);
CREATE INDEX process_names_over ON process_names (tenant_id, keep_until);

-- How far the job is: hours that were over and not packed when it last looked.
CREATE TABLE history_progress (
  tenant_id uuid PRIMARY KEY REFERENCES partners (id),
  looked_at timestamptz NOT NULL,
  hours_waiting bigint NOT NULL,
  oldest_waiting timestamptz
);

DO $$
DECLARE target text;
BEGIN
  FOREACH target IN ARRAY ARRAY['metric_hours', 'metric_rollups'] LOOP
    CALL protect(target::regclass, format($rule$ tenant_id = (SELECT app_tenant()) AND (NOT (SELECT app_confined())
      OR EXISTS (SELECT 1 FROM agents a WHERE a.num = %s.agent_num)) $rule$, target));
  END LOOP;
  CALL protect('process_names', $rule$ tenant_id = (SELECT app_tenant()) $rule$);
  CALL protect('history_progress', $rule$ tenant_id = (SELECT app_tenant()) OR (SELECT app_platform()) $rule$);
  FOREACH target IN ARRAY ARRAY['metric_hours', 'metric_rollups', 'process_names', 'history_progress'] LOOP
    EXECUTE format('CREATE POLICY history_keeps ON %I TO gururmm_history USING (tenant_id = (SELECT app_tenant()))
      WITH CHECK (tenant_id = (SELECT app_tenant()))', target);
    EXECUTE format('GRANT SELECT ON %I TO gururmm_app', target);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %I TO gururmm_history', target);
  END LOOP;
  FOREACH target IN ARRAY ARRAY['metric_hours_30', 'metric_hours_90', 'metric_hours_365', 'metric_hours_1095',
    'metric_rollups_90', 'metric_rollups_365', 'metric_rollups_1095'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', target);
  END LOOP;
END
$$;
GRANT DELETE ON process_names TO gururmm_history;
GRANT SELECT, DELETE ON metric_samples TO gururmm_history;
CREATE POLICY history_reads ON metric_samples FOR SELECT TO gururmm_history USING (tenant_id = (SELECT app_tenant()));
CREATE POLICY history_takes ON metric_samples FOR DELETE TO gururmm_history USING (tenant_id = (SELECT app_tenant()));

-- What is partitioned by class and time, and how long its partitions are and stay.
CREATE FUNCTION metric_partitions() RETURNS TABLE (parent text, days integer, unit text)
LANGUAGE sql IMMUTABLE AS $$
  SELECT format('%s_%s', p.parent, c.days), c.days, c.unit
  FROM (VALUES ('metric_samples'), ('metric_hours')) AS p (parent),
    (VALUES (30, 'day'), (90, 'week'), (365, 'month'), (1095, 'month')) AS c (days, unit)
  UNION ALL SELECT format('metric_rollups_%s', c.days), c.days, 'month' FROM (VALUES (90), (365), (1095)) AS c (days)
$$;

-- As in 0003, for all of these. Samples leave their partitions within hours, and their room is for the next ones.
CREATE OR REPLACE FUNCTION ensure_metric_partitions(from_time timestamptz, to_time timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  class record;
  start_at timestamptz;
  name text;
  made integer := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('gururmm.metric_partitions'));
  FOR class IN SELECT * FROM metric_partitions() LOOP
    start_at := date_trunc(class.unit, from_time);
    WHILE start_at <= to_time LOOP
      name := format('%s_%s', class.parent, to_char(start_at, 'YYYYMMDD'));
      IF to_regclass(name) IS NULL THEN
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', name, class.parent, start_at,
          start_at + ('1 ' || class.unit)::interval);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        IF class.parent LIKE 'metric_samples%' THEN
          EXECUTE format('ALTER TABLE %I SET (autovacuum_vacuum_scale_factor = 0.05)', name);
        END IF;
        made := made + 1;
      END IF;
      start_at := start_at + ('1 ' || class.unit)::interval;
    END LOOP;
  END LOOP;
  RETURN made;
END
$$;

CREATE OR REPLACE FUNCTION drop_expired_metric_partitions(now_is timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  class record;
  part record;
  dropped integer := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('gururmm.metric_partitions'));
  FOR class IN SELECT * FROM metric_partitions() LOOP
    FOR part IN SELECT c.relname AS name, to_timestamp(right(c.relname, 8), 'YYYYMMDD') AS start_at
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = class.parent::regclass LOOP
      IF part.start_at + ('1 ' || class.unit)::interval <= now_is - make_interval(days => class.days) THEN
        EXECUTE format('DROP TABLE %I', part.name);
        dropped := dropped + 1;
      END IF;
    END LOOP;
  END LOOP;
  RETURN dropped;
END
$$;

-- What is handed over when two records of one machine are merged (0017), with its history.
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
  -- The job that packs hours works on one side of this or the other.
  PERFORM pg_advisory_xact_lock(hashtext('gururmm.history'), hashtext(k.tenant_id::text));
  -- Where both have a sample of one moment, the kept agent's stays.
  UPDATE metric_samples m SET agent_num = k.num WHERE agent_num = o.num AND tenant_id = k.tenant_id
    AND NOT EXISTS (SELECT 1 FROM metric_samples s WHERE s.tenant_id = k.tenant_id AND s.agent_num = k.num
      AND s.taken_at = m.taken_at AND s.retention_days = m.retention_days);
  UPDATE metric_hours SET agent_num = k.num WHERE agent_num = o.num AND tenant_id = k.tenant_id;
  UPDATE metric_rollups SET agent_num = k.num WHERE agent_num = o.num AND tenant_id = k.tenant_id;
  UPDATE agent_aliases SET agent_id = k.id WHERE agent_id = o.id;
END
$$;
