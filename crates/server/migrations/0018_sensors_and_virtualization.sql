-- What machines' sensors show (protocol Sensors), beside the figures of the same moment and kept as long. NULL: the agent
-- does not tell.
ALTER TABLE metric_samples ADD COLUMN sensors jsonb;

-- What a machine is, by what it says in `system`; NULL until an agent that tells has connected.
ALTER TABLE agents ADD COLUMN machine_type text
  CONSTRAINT agents_machine_type CHECK (machine_type IN ('physical', 'virtual_machine', 'container'));
