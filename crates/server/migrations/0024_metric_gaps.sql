-- Samples that a machine measured and could not keep until the server took them.

CREATE TABLE metric_gaps (
  tenant_id uuid NOT NULL,
  agent_id uuid NOT NULL,
  -- Made by the machine: it tells a gap that comes twice, or has grown, and nothing more is believed of it.
  gap_id uuid NOT NULL,
  starts_at timestamptz NOT NULL,
  ends_at timestamptz NOT NULL,
  -- How many; null where the machine itself does not know.
  samples bigint CONSTRAINT metric_gaps_samples CHECK (samples > 0),
  reason text NOT NULL CONSTRAINT metric_gaps_reason
    CHECK (reason IN ('outbox_full', 'disk_full', 'store_failed', 'store_unreadable', 'other')),
  error text,
  received_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (agent_id, gap_id),
  CONSTRAINT metric_gaps_span CHECK (starts_at <= ends_at),
  CONSTRAINT metric_gaps_agent_fk FOREIGN KEY (tenant_id, agent_id) REFERENCES agents (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX metric_gaps_by_end ON metric_gaps (agent_id, ends_at DESC);
CREATE INDEX metric_gaps_oldest ON metric_gaps (tenant_id, ends_at);

CALL protect('metric_gaps', $$ EXISTS (SELECT 1 FROM agents a WHERE a.id = metric_gaps.agent_id) $$);
GRANT SELECT, INSERT, UPDATE, DELETE ON metric_gaps TO gururmm_app;
