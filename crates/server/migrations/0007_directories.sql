-- Names of partners and clients, for slices that only need to say them. The reader's own row-level security holds.
CREATE VIEW partner_directory WITH (security_invoker = true) AS SELECT id, name FROM partners;

CREATE VIEW client_directory WITH (security_invoker = true) AS SELECT id, tenant_id, name FROM clients;

GRANT SELECT ON partner_directory, client_directory TO gururmm_app;
