-- Sign-in where someone is known, and keys that belong to their database.

-- A failure elsewhere must not keep someone out at their own desk. Whether this person signed in from this network
-- lately: sessions are kept for 30 days beyond their end.
CREATE FUNCTION knows_place(member uuid, network inet) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ SELECT EXISTS (SELECT 1 FROM sessions WHERE user_id = member AND ip <<= network) $$;

GRANT EXECUTE ON FUNCTION knows_place(uuid, inet) TO gururmm_app;

-- Which keys this database's digests were made with: a fingerprint of each, so that a server with other keys says so
-- instead of locking every machine out. Read and written by the owner only.
CREATE TABLE installation_keys (
  key_id text PRIMARY KEY,
  fingerprint bytea NOT NULL CONSTRAINT installation_keys_fingerprint_length CHECK (octet_length(fingerprint) = 32),
  first_seen_at timestamptz NOT NULL DEFAULT now()
);
CALL protect('installation_keys', 'false');
