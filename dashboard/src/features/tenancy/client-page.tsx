import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { Plus } from "lucide-react";
import { useState } from "react";
import type { Client } from "../../api/types";
import { plural } from "../../lib/format";
import { Button } from "../../ui/button";
import { Panel } from "../../ui/panel";
import { EmptyState, ErrorState, SkeletonRows } from "../../ui/states";
import { TabLinks, tabLink } from "../../ui/tab-links";
import { Checkbox } from "../../ui/toggle";
import { PolicyEditor } from "../policies/policy-editor";
import { useCan, useSession } from "../session/session";
import { ObjectFallback } from "../shell/fallbacks";
import { PageHeader } from "../shell/page-header";
import { useCreateSite, useDeleteClient, useRenameClient } from "./mutations";
import { NameDialog } from "./name-dialog";
import { PlaceAgents } from "./place-agents";
import { PlaceMenu } from "./place-menu";
import { clientQuery, treeQuery } from "./queries";

const HIDDEN = ["client"];

export function ClientPage() {
  const { clientId } = useParams({ from: "/app/clients/$clientId" });
  const query = useQuery(clientQuery(clientId));
  if (!query.data) return <ObjectFallback kind="Client" query={query} />;
  return <Loaded key={clientId} client={query.data} />;
}

function Loaded({ client }: { client: Client }) {
  const [addingSite, setAddingSite] = useState(false);
  const { tab } = useSearch({ from: "/app/clients/$clientId" });
  const session = useSession();
  const canManage = useCan("manage_tenancy");
  const addSite = canManage && !session.confined && (
    <Button onClick={() => setAddingSite(true)}>
      <Plus aria-hidden />
      Add site
    </Button>
  );
  return (
    <>
      <PageHeader
        title={client.name}
        documentTitle={client.name}
        crumbs={[{ label: "Clients", link: { to: "/clients" } }]}
        meta={`${plural(client.agents_total, "machine")}, ${client.agents_online} online`}
        actions={
          <>
            {addSite}
            {canManage && !session.confined && <ClientMenu client={client} />}
          </>
        }
      />
      <TabLinks label="Client">
        <Link
          to="/clients/$clientId"
          params={{ clientId: client.id }}
          activeOptions={{ exact: true }}
          className={tabLink}
        >
          Sites and machines
        </Link>
        <Link
          to="/clients/$clientId"
          params={{ clientId: client.id }}
          search={{ tab: "policy" }}
          activeOptions={{ exact: true }}
          className={tabLink}
        >
          Policy
        </Link>
      </TabLinks>
      {tab === "policy" ? (
        <PolicyEditor
          scope="client"
          id={client.id}
          description="Applies to every machine of this client, unless its site or the machine itself says otherwise."
        />
      ) : (
        <div className="grid gap-5">
          <Sites clientId={client.id} action={addSite} />
          <PlaceAgents
            place={{ client_id: client.id }}
            hide={HIDDEN}
            empty={
              <EmptyState title="No machines yet">
                They appear here once they have enrolled at one of the sites above.
              </EmptyState>
            }
          />
        </div>
      )}
      <AddSite client={client} open={addingSite} onClose={() => setAddingSite(false)} />
    </>
  );
}

function Sites({ clientId, action }: { clientId: string; action: React.ReactNode }) {
  const tree = useQuery(treeQuery);
  const sites = tree.data?.clients.find(({ id }) => id === clientId)?.sites ?? [];
  return (
    <Panel title="Sites" flush>
      {tree.isPending ? (
        <SkeletonRows rows={2} />
      ) : tree.isError && !tree.data ? (
        <ErrorState className="py-8" error={tree.error} onRetry={() => tree.refetch()} />
      ) : sites.length === 0 ? (
        <EmptyState title="No sites yet" action={action} className="py-8">
          A site is one of the client's locations, with an enrollment key of its own.
        </EmptyState>
      ) : (
        <ul className="grid sm:grid-cols-2 xl:grid-cols-3">
          {sites.map((site) => (
            <li key={site.id} className="relative border-b px-4 py-3 hover:bg-hover">
              <Link
                to="/sites/$siteId"
                params={{ siteId: site.id }}
                className="block truncate rounded-sm font-medium after:absolute after:inset-0"
              >
                {site.name}
              </Link>
              <p className="flex justify-between gap-3 text-ink-2 text-sm">
                <span>
                  {site.agents_online} of {plural(site.agents_total, "machine")} online
                </span>
                <span className="font-mono text-ink-3 text-xs">{site.code}</span>
              </p>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

function AddSite({
  client,
  open,
  onClose,
}: {
  client: Client;
  open: boolean;
  onClose: () => void;
}) {
  const navigate = useNavigate();
  const create = useCreateSite();
  const [approval, setApproval] = useState(false);
  return (
    <NameDialog
      open={open}
      onClose={() => {
        create.reset();
        onClose();
      }}
      title={`Add a site to ${client.name}`}
      label="Name"
      action="Add site"
      busy={create.isPending}
      error={create.error}
      onSubmit={(name) =>
        create.mutate(
          { client_id: client.id, name, approval_required: approval },
          {
            onSuccess: (site) => {
              onClose();
              void navigate({ to: "/sites/$siteId", params: { siteId: site.id } });
            },
          },
        )
      }
    >
      <Checkbox
        label="Ask before a machine may take part"
        hint="New machines wait as pending until someone approves them."
        checked={approval}
        onCheckedChange={setApproval}
      />
    </NameDialog>
  );
}

function ClientMenu({ client }: { client: Client }) {
  const navigate = useNavigate();
  return (
    <PlaceMenu
      kind="client"
      name={client.name}
      rename={useRenameClient(client.id)}
      toChange={(name) => name}
      remove={useDeleteClient(client.id)}
      warning="A client can be deleted once it has no sites left."
      onDeleted={() => navigate({ to: "/clients" })}
    />
  );
}
