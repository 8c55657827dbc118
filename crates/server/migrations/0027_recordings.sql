-- Recordings of techs' sessions with machines. The bytes lie in the object store, encrypted; here is which there are, and
-- a hash chain per partner over everything that was recorded, so that what is changed, missing or put in shows.

ALTER TABLE partners
  -- Whether typed lines are put into the index that recordings are searched by.
  ADD COLUMN recordings_are_indexed boolean NOT NULL DEFAULT true,
  -- What becomes of a recording when it is past retention: its objects stay where they are, out of sight, or go.
  ADD COLUMN recordings_afterwards text NOT NULL DEFAULT 'archive'
    CONSTRAINT partners_recordings_afterwards CHECK (recordings_afterwards IN ('archive', 'delete'));

-- One per session, with the names and places of its time: it outlives the machine and the tech's account.
CREATE TABLE recordings (
  id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL REFERENCES partners (id),
  client_id uuid NOT NULL,
  site_id uuid NOT NULL,
  agent_id uuid NOT NULL,
  hostname text NOT NULL,
  tech_id uuid NOT NULL,
  tech_name text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT now(),
  -- When something was written last.
  last_at timestamptz NOT NULL DEFAULT now(),
  ended_at timestamptz,
  segments integer NOT NULL DEFAULT 0,
  bytes bigint NOT NULL DEFAULT 0,
  -- Kinds of channels that were opened.
  kinds text[] NOT NULL DEFAULT '{}',
  state text NOT NULL DEFAULT 'kept'
    CONSTRAINT recordings_state CHECK (state IN ('kept', 'archived', 'removing', 'removed')),
  CONSTRAINT recordings_tenant_key UNIQUE (tenant_id, id)
);
CREATE INDEX recordings_recent ON recordings (tenant_id, started_at DESC, id DESC) WHERE state = 'kept';
CREATE INDEX recordings_of_agent ON recordings (tenant_id, agent_id, started_at DESC) WHERE state = 'kept';
CREATE INDEX recordings_over ON recordings (tenant_id, last_at) WHERE state = 'kept';
CREATE INDEX recordings_to_remove ON recordings (tenant_id) WHERE state = 'removing';

-- The chain: a recording opened, each segment, closed, archived, removed. Entries stay when objects go. Written by
-- recording_append only.
CREATE TABLE recording_entries (
  tenant_id uuid NOT NULL,
  seq bigint NOT NULL,
  recording_id uuid NOT NULL,
  at timestamptz NOT NULL,
  kind text NOT NULL
    CONSTRAINT recording_entries_kind CHECK (kind IN ('opened', 'segment', 'closed', 'archived', 'removed')),
  -- Of a segment: counts up by one within the recording.
  number integer,
  detail jsonb NOT NULL,
  prev_hash bytea NOT NULL,
  hash bytea NOT NULL,
  PRIMARY KEY (tenant_id, seq),
  CONSTRAINT recording_entries_number CHECK ((kind = 'segment') = (number IS NOT NULL))
);
CREATE UNIQUE INDEX recording_entries_segment ON recording_entries (recording_id, number) WHERE kind = 'segment';

CREATE TABLE recording_heads (
  tenant_id uuid PRIMARY KEY,
  seq bigint NOT NULL,
  hash bytea NOT NULL
);

-- Words are what stands between characters that are neither letters nor digits, so that a part of a path is found.
CREATE FUNCTION line_words(line text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT to_tsvector('simple'::regconfig, regexp_replace(line, '[^[:alnum:]]+', ' ', 'g')) $$;
GRANT EXECUTE ON FUNCTION line_words(text) TO gururmm_app;

-- Typed lines of terminals, to be searched.
CREATE TABLE recording_lines (
  tenant_id uuid NOT NULL,
  recording_id uuid NOT NULL,
  number integer NOT NULL,
  ordinal integer NOT NULL,
  channel bigint NOT NULL,
  at_ms bigint NOT NULL,
  line text NOT NULL,
  PRIMARY KEY (recording_id, number, ordinal),
  CONSTRAINT recording_lines_recording_fk FOREIGN KEY (tenant_id, recording_id) REFERENCES recordings (tenant_id, id)
    ON DELETE CASCADE
);
CREATE INDEX recording_lines_words ON recording_lines USING gin (line_words(line));
CREATE INDEX recording_lines_tenant ON recording_lines (tenant_id);

CALL protect('recordings', $$ tenant_id = (SELECT app_tenant()) $$);
CALL protect('recording_entries', $$ tenant_id = (SELECT app_tenant()) $$);
CALL protect('recording_heads', $$ false $$);
CALL protect('recording_lines', $$ tenant_id = (SELECT app_tenant()) $$);

GRANT SELECT, INSERT, UPDATE (last_at, ended_at, segments, bytes, kinds, state) ON recordings TO gururmm_app;
GRANT SELECT ON recording_entries TO gururmm_app;
GRANT SELECT, INSERT, DELETE ON recording_lines TO gururmm_app;

CREATE FUNCTION recording_entry_hash(e recording_entries) RETURNS bytea LANGUAGE sql STABLE AS $$
  SELECT sha256(convert_to(jsonb_build_array(encode(e.prev_hash, 'hex'), e.tenant_id, e.seq, e.recording_id,
    extract(epoch FROM e.at)::text, e.kind, e.number, e.detail)::text, 'UTF8'))
$$;

-- Appends to the chain of the transaction's tenant, about one of its recordings. The head's row is locked until commit,
-- as the audit log's is.
CREATE FUNCTION recording_append(recording uuid, what text, segment integer, details jsonb) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  chain uuid := app_tenant();
  head recording_heads;
  entry recording_entries;
BEGIN
  IF NOT EXISTS (SELECT 1 FROM recordings WHERE id = recording AND tenant_id = chain) THEN
    RAISE 'there is no such recording' USING ERRCODE = 'no_data_found';
  END IF;
  INSERT INTO recording_heads (tenant_id, seq, hash) VALUES (chain, 0, '\x') ON CONFLICT DO NOTHING;
  SELECT * INTO head FROM recording_heads WHERE tenant_id = chain FOR UPDATE;
  entry := ROW(chain, head.seq + 1, recording, clock_timestamp(), what, segment, details, head.hash, '\x'::bytea);
  entry.hash := recording_entry_hash(entry);
  INSERT INTO recording_entries SELECT (entry).*;
  UPDATE recording_heads SET seq = entry.seq, hash = entry.hash WHERE tenant_id = chain;
  RETURN entry.seq;
END
$$;

-- The recordings of the transaction's tenant with a line that has these words. As the owner: beneath row-level security
-- PostgreSQL may not use an index on words, for looking them up could tell of rows that are not to be seen.
CREATE FUNCTION find_recordings(wanted text) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT DISTINCT recording_id FROM recording_lines
  WHERE tenant_id = app_tenant() AND line_words(line) @@ to_tsquery('simple', wanted)
$$;

-- What recordings know of sessions, and of machines that two records became one of.
CREATE VIEW tunnel_session_ends WITH (security_invoker = true) AS SELECT id, tenant_id, status, closed_at FROM tunnel_sessions;
CREATE VIEW former_agents WITH (security_invoker = true) AS SELECT alias AS former_id, agent_id FROM agent_aliases;
GRANT SELECT ON tunnel_session_ends, former_agents TO gururmm_app;

-- How far every chain is: ids and hashes alone.
CREATE FUNCTION chain_heads() RETURNS TABLE (chain text, tenant_id uuid, seq bigint, hash bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT 'audit', h.tenant_id, h.seq, h.hash FROM audit_heads h WHERE h.seq > 0
  UNION ALL SELECT 'recordings', h.tenant_id, h.seq, h.hash FROM recording_heads h WHERE h.seq > 0
  ORDER BY 1, 2
$$;

GRANT EXECUTE ON FUNCTION recording_append(uuid, text, integer, jsonb), find_recordings(text), chain_heads()
  TO gururmm_app;
