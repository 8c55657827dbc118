import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { Button } from "../../ui/button";
import { Field } from "../../ui/field";
import { Select } from "../../ui/input";
import { Panel } from "../../ui/panel";
import { EmptyState, ErrorState, SkeletonRows } from "../../ui/states";
import { useCan } from "../session/session";
import { NotFoundPage } from "../shell/fallbacks";
import { PageHeader } from "../shell/page-header";
import { treeQuery } from "../tenancy/queries";
import { SiteEnrollment } from "./site-enrollment";

export function EnrollmentPage() {
  const { site_id } = useSearch({ from: "/app/enrollment" });
  const navigate = useNavigate({ from: "/enrollment" });
  const tree = useQuery(treeQuery);
  const allowed = useCan("read_keys");
  if (!allowed) return <NotFoundPage />;
  const clients = tree.data?.clients ?? [];
  const sites = clients.flatMap((client) => client.sites);
  const site =
    sites.find(({ id }) => id === site_id) ?? (sites.length === 1 ? sites[0] : undefined);
  return (
    <>
      <PageHeader
        title="Enrollment"
        documentTitle="Enrollment"
        meta="Every site has a key that lets machines join it. The key only lets a machine ask; each machine then gets its own."
      />
      {tree.isPending ? (
        <SkeletonRows />
      ) : tree.isError && !tree.data ? (
        <ErrorState error={tree.error} onRetry={() => tree.refetch()} />
      ) : sites.length === 0 ? (
        <Panel>
          <EmptyState
            title="No sites yet"
            action={
              <Button asChild variant="primary">
                <Link to="/clients">Clients and sites</Link>
              </Button>
            }
          >
            Add a client and a site first.
          </EmptyState>
        </Panel>
      ) : (
        <div className="grid gap-5">
          <Field label="Site" className="max-w-md">
            <Select
              value={site?.id ?? ""}
              onChange={(event) =>
                navigate({ search: { site_id: event.target.value }, replace: true })
              }
            >
              <option value="" disabled>
                Choose where the machine belongs
              </option>
              {clients.map((client) => (
                <optgroup key={client.id} label={client.name}>
                  {client.sites.map(({ id, name }) => (
                    <option key={id} value={id}>
                      {client.name} / {name}
                    </option>
                  ))}
                </optgroup>
              ))}
            </Select>
          </Field>
          {site && <SiteEnrollment key={site.id} site={site} />}
        </div>
      )}
    </>
  );
}
