import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import type { Site } from "../../api/types";
import { plural } from "../../lib/format";
import { Badge } from "../../ui/badge";
import { Button } from "../../ui/button";
import { Panel } from "../../ui/panel";
import { EmptyState } from "../../ui/states";
import { TabLinks, tabLink } from "../../ui/tab-links";
import { toast } from "../../ui/toast";
import { Switch } from "../../ui/toggle";
import { PolicyEditor } from "../policies/policy-editor";
import { useCan } from "../session/session";
import { ObjectFallback } from "../shell/fallbacks";
import { PageHeader } from "../shell/page-header";
import { useChangeSite, useDeleteSite } from "./mutations";
import { PlaceAgents } from "./place-agents";
import { PlaceMenu } from "./place-menu";
import { siteQuery } from "./queries";

const HIDDEN = ["client", "site"];

export function SitePage() {
  const { siteId } = useParams({ from: "/app/sites/$siteId" });
  const query = useQuery(siteQuery(siteId));
  if (!query.data) return <ObjectFallback kind="Site" query={query} />;
  return <Loaded key={siteId} site={query.data} />;
}

function Loaded({ site }: { site: Site }) {
  const canManage = useCan("manage_tenancy");
  const canEnroll = useCan("read_keys");
  const { tab } = useSearch({ from: "/app/sites/$siteId" });
  const change = useChangeSite(site.id);
  const enroll = canEnroll && (
    <Button asChild variant="primary">
      <Link to="/enrollment" search={{ site_id: site.id }}>
        Add a machine
      </Link>
    </Button>
  );
  return (
    <>
      <PageHeader
        title={site.name}
        documentTitle={`${site.name}, ${site.client_name}`}
        crumbs={[
          { label: "Clients", link: { to: "/clients" } },
          {
            label: site.client_name,
            link: { to: "/clients/$clientId", params: { clientId: site.client_id } },
          },
        ]}
        status={site.approval_required && <Badge>approval required</Badge>}
        meta={
          <span className="flex flex-wrap gap-x-4">
            <span>
              {plural(site.agents_total, "machine")}, {site.agents_online} online
            </span>
            <span>
              site code <span className="select-all font-mono text-sm">{site.code}</span>
            </span>
          </span>
        }
        actions={
          <>
            {enroll}
            {canManage && <SiteMenu site={site} />}
          </>
        }
      />
      <TabLinks label="Site">
        <Link
          to="/sites/$siteId"
          params={{ siteId: site.id }}
          activeOptions={{ exact: true }}
          className={tabLink}
        >
          Machines
        </Link>
        <Link
          to="/sites/$siteId"
          params={{ siteId: site.id }}
          search={{ tab: "policy" }}
          activeOptions={{ exact: true }}
          className={tabLink}
        >
          Policy and approval
        </Link>
      </TabLinks>
      {tab === "policy" ? (
        <div className="grid gap-5">
          <Panel title="Approval">
            <div className="flex items-start justify-between gap-6">
              <p className="max-w-prose text-base text-ink-2">
                When approval is required, a machine that enrolls here waits as pending until
                someone decides. Otherwise it takes part at once and its arrival is announced.
              </p>
              <Switch
                label="Require approval"
                checked={site.approval_required}
                disabled={!canManage || change.isPending}
                onCheckedChange={(approval_required) =>
                  change.mutate({ approval_required }, { onError: toast.failed })
                }
              />
            </div>
          </Panel>
          <PolicyEditor
            scope="site"
            id={site.id}
            description="Applies to every machine at this site, unless the machine itself says otherwise."
          />
        </div>
      ) : (
        <PlaceAgents
          place={{ site_id: site.id }}
          hide={HIDDEN}
          empty={
            <EmptyState title="No machines at this site yet" action={enroll}>
              One command on a machine brings it in.
            </EmptyState>
          }
        />
      )}
    </>
  );
}

function SiteMenu({ site }: { site: Site }) {
  const navigate = useNavigate();
  return (
    <PlaceMenu
      kind="site"
      name={site.name}
      rename={useChangeSite(site.id)}
      toChange={(name) => ({ name })}
      remove={useDeleteSite(site.id)}
      warning="A site can be deleted once it has no machines left. Its enrollment keys stop working at once."
      onDeleted={() => navigate({ to: "/clients/$clientId", params: { clientId: site.client_id } })}
    />
  );
}
