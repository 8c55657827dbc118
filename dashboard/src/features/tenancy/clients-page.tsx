import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { Plus } from "lucide-react";
import { useState } from "react";
import type { TreeClient } from "../../api/types";
import { plural } from "../../lib/format";
import { Button } from "../../ui/button";
import { SearchInput } from "../../ui/input";
import { Panel } from "../../ui/panel";
import { EmptyState, ErrorState, SkeletonRows } from "../../ui/states";
import { useCan, useSession } from "../session/session";
import { PageHeader } from "../shell/page-header";
import { useCreateClient } from "./mutations";
import { NameDialog } from "./name-dialog";
import { treeQuery } from "./queries";

/** The whole hierarchy on one page. */
export function ClientsPage() {
  const tree = useQuery(treeQuery);
  const session = useSession();
  const canManage = useCan("manage_tenancy") && !session.confined;
  const navigate = useNavigate();
  const [search, setSearch] = useState("");
  const [creating, setCreating] = useState(false);
  const create = useCreateClient();
  const clients = matching(tree.data?.clients ?? [], search);
  const add = canManage && (
    <Button variant="primary" onClick={() => setCreating(true)}>
      <Plus aria-hidden />
      Add client
    </Button>
  );
  return (
    <>
      <PageHeader
        title="Clients and sites"
        documentTitle="Clients and sites"
        meta={
          tree.data && `${plural(tree.data.clients.length, "client")} of ${tree.data.partner.name}`
        }
        actions={add}
      />
      <Panel
        flush
        title={
          <SearchInput
            label="Search clients and sites"
            value={search}
            onSearch={setSearch}
            className="w-64 font-normal"
          />
        }
        actions={<span className="text-ink-3 text-sm">machines online / all</span>}
      >
        {tree.isPending ? (
          <SkeletonRows />
        ) : tree.isError && !tree.data ? (
          <ErrorState error={tree.error} onRetry={() => tree.refetch()} />
        ) : tree.data.clients.length === 0 ? (
          <EmptyState title="No clients yet" action={add}>
            A client is a customer of yours; its machines live at its sites.
          </EmptyState>
        ) : clients.length === 0 ? (
          <EmptyState title="Nothing matches">Try another name or site code.</EmptyState>
        ) : (
          <ul className="divide-y divide-line">
            {clients.map((client) => (
              <ClientBlock key={client.id} client={client} />
            ))}
          </ul>
        )}
      </Panel>
      <NameDialog
        open={creating}
        onClose={() => {
          setCreating(false);
          create.reset();
        }}
        title="Add a client"
        label="Name"
        action="Add client"
        busy={create.isPending}
        error={create.error}
        onSubmit={(name) =>
          create.mutate(name, {
            onSuccess: (client) => {
              setCreating(false);
              void navigate({ to: "/clients/$clientId", params: { clientId: client.id } });
            },
          })
        }
      />
    </>
  );
}

function matching(clients: readonly TreeClient[], search: string): TreeClient[] {
  const wanted = search.trim().toLowerCase();
  if (wanted === "") return [...clients];
  return clients.flatMap((client) => {
    if (client.name.toLowerCase().includes(wanted)) return [client];
    const sites = client.sites.filter(
      ({ name, code }) =>
        name.toLowerCase().includes(wanted) || code.toLowerCase().includes(wanted),
    );
    return sites.length > 0 ? [{ ...client, sites }] : [];
  });
}

function ClientBlock({ client }: { client: TreeClient }) {
  const total = client.sites.reduce((sum, site) => sum + site.agents_total, 0);
  const online = client.sites.reduce((sum, site) => sum + site.agents_online, 0);
  return (
    <li className="py-2">
      <div className="relative flex items-center justify-between gap-4 px-4 py-1.5 hover:bg-hover">
        <h2 className="min-w-0">
          <Link
            to="/clients/$clientId"
            params={{ clientId: client.id }}
            className="block truncate rounded-sm font-semibold text-base after:absolute after:inset-0"
          >
            {client.name}
          </Link>
        </h2>
        <Counts online={online} total={total} />
      </div>
      <ul>
        {client.sites.map((site) => (
          <li
            key={site.id}
            className="relative flex items-center justify-between gap-4 py-1.5 pr-4 pl-8 hover:bg-hover"
          >
            <span className="flex min-w-0 items-baseline gap-3">
              <Link
                to="/sites/$siteId"
                params={{ siteId: site.id }}
                className="truncate rounded-sm text-base after:absolute after:inset-0"
              >
                {site.name}
              </Link>
              <span className="shrink-0 font-mono text-ink-3 text-xs">{site.code}</span>
            </span>
            <Counts online={site.agents_online} total={site.agents_total} />
          </li>
        ))}
        {client.sites.length === 0 && (
          <li className="px-8 py-1 text-base text-ink-3">No sites yet.</li>
        )}
      </ul>
    </li>
  );
}

function Counts({ online, total }: { online: number; total: number }) {
  return (
    <span className="shrink-0 text-base text-ink-2">
      <span className="text-ink">{online}</span>
      <span aria-hidden> / </span>
      <span className="sr-only"> online of </span>
      {total}
    </span>
  );
}
