-- Machines: known again under an earlier id, found by their hardware, and what is said of them moves along.

-- A newcomer that turned out to be a known machine still calls itself by the id it was given when it enrolled.
CREATE TABLE agent_aliases (
  alias uuid PRIMARY KEY,
  tenant_id uuid NOT NULL,
  agent_id uuid NOT NULL,
  CONSTRAINT agent_aliases_agent_fk FOREIGN KEY (tenant_id, agent_id) REFERENCES agents (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX agent_aliases_agent ON agent_aliases (agent_id);
CALL protect('agent_aliases', $$ EXISTS (SELECT 1 FROM agents a WHERE a.id = agent_aliases.agent_id) $$);
GRANT SELECT, INSERT ON agent_aliases TO gururmm_app;

CREATE FUNCTION lookup_agent_alias(alias_id uuid) RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ SELECT agent_id FROM agent_aliases WHERE alias = alias_id $$;
GRANT EXECUTE ON FUNCTION lookup_agent_alias(uuid) TO gururmm_app;

-- Newcomers with a known identity.
CREATE INDEX agents_uid ON agents (tenant_id, machine_uid);

-- Twins: an agent that someone found to be another machine than the one whose identity it offers. Its machine_uid is
-- one of its own from then on, and this is the one it offers.
ALTER TABLE agents ADD COLUMN shared_uid text;
CREATE INDEX agents_shared_uid ON agents (tenant_id, shared_uid) WHERE shared_uid IS NOT NULL;

-- Rows that repeat an agent's place, for row-level security and lists, follow the agent when it moves: who may see
-- the agent sees its history, and nobody else does. As the mover, under the mover's row-level security.
CREATE FUNCTION agents_place_follows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE commands SET client_id = NEW.client_id, site_id = NEW.site_id WHERE agent_id = NEW.id;
  UPDATE alerts SET client_id = NEW.client_id, site_id = NEW.site_id WHERE agent_id = NEW.id;
  UPDATE tunnel_sessions SET client_id = NEW.client_id, site_id = NEW.site_id WHERE agent_id = NEW.id;
  RETURN NULL;
END
$$;
CREATE TRIGGER agents_place_follows AFTER UPDATE OF client_id, site_id ON agents FOR EACH ROW
  WHEN (OLD.site_id <> NEW.site_id) EXECUTE FUNCTION agents_place_follows();
