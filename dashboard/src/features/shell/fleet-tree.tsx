import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { ChevronRight } from "lucide-react";
import { useState } from "react";
import type { TreeClient } from "../../api/types";
import { readPreference, writePreference } from "../../lib/storage";
import { cn } from "../../ui/cn";
import { Skeleton } from "../../ui/states";
import { treeQuery } from "../tenancy/queries";

const PREFERENCE = "gururmm.tree.open";
const isIds = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((entry) => typeof entry === "string");

/** Partner -> client -> site, with how many machines are online of how many. */
export function FleetTree() {
  const tree = useQuery(treeQuery);
  const [open, setOpen] = useState(() => new Set(readPreference(PREFERENCE, isIds) ?? []));
  const toggle = (id: string) => {
    const next = new Set(open);
    if (!next.delete(id)) next.add(id);
    setOpen(next);
    writePreference(PREFERENCE, [...next]);
  };
  return (
    <section aria-label="Fleet" className="mt-3 border-t pt-3">
      <div className="flex items-center justify-between px-2.5 pb-1 text-ink-3 text-sm">
        <h2 className="font-medium">Fleet</h2>
        <span>online / all</span>
      </div>
      {tree.isPending && (
        <div className="grid gap-2 px-2.5 py-1">
          <Skeleton className="h-4" />
          <Skeleton className="h-4 w-2/3" />
        </div>
      )}
      {tree.isError && !tree.data && (
        <button
          type="button"
          className="rounded-sm px-2.5 py-1 text-left text-crit text-sm hover:underline"
          onClick={() => tree.refetch()}
        >
          The tree could not be loaded. Try again
        </button>
      )}
      {tree.data?.clients.length === 0 && (
        <p className="px-2.5 py-1 text-ink-3 text-sm">No clients yet.</p>
      )}
      <ul>
        {tree.data?.clients.map((client) => (
          <ClientNode
            key={client.id}
            client={client}
            open={open.has(client.id) || tree.data.clients.length === 1}
            onToggle={() => toggle(client.id)}
          />
        ))}
      </ul>
    </section>
  );
}

const row =
  "flex h-7 min-w-0 flex-1 items-center gap-2 rounded-md pr-2.5 text-base text-ink-2 hover:bg-hover hover:text-ink aria-[current=page]:bg-accent-soft aria-[current=page]:font-medium aria-[current=page]:text-accent";

function ClientNode({
  client,
  open,
  onToggle,
}: {
  client: TreeClient;
  open: boolean;
  onToggle: () => void;
}) {
  const { siteId } = useParams({ strict: false });
  const holdsCurrent = client.sites.some((site) => site.id === siteId);
  const shown = open || holdsCurrent;
  const total = client.sites.reduce((sum, site) => sum + site.agents_total, 0);
  const online = client.sites.reduce((sum, site) => sum + site.agents_online, 0);
  return (
    <li>
      <div className="flex items-center">
        <button
          type="button"
          aria-expanded={shown}
          aria-label={`${shown ? "Fold" : "Unfold"} ${client.name}`}
          onClick={onToggle}
          className="grid size-7 shrink-0 place-items-center rounded-md text-ink-3 hover:bg-hover hover:text-ink"
        >
          <ChevronRight
            aria-hidden
            className={cn("size-3.5 transition-transform", shown && "rotate-90")}
          />
        </button>
        <Link to="/clients/$clientId" params={{ clientId: client.id }} className={cn(row, "pl-1")}>
          <span className="truncate">{client.name}</span>
          <Counts online={online} total={total} />
        </Link>
      </div>
      {shown && client.sites.length > 0 && (
        <ul className="ml-3.5 border-l pl-2">
          {client.sites.map((site) => (
            <li key={site.id} className="flex">
              <Link to="/sites/$siteId" params={{ siteId: site.id }} className={cn(row, "pl-2.5")}>
                <span className="truncate">{site.name}</span>
                <Counts online={site.agents_online} total={site.agents_total} />
              </Link>
            </li>
          ))}
        </ul>
      )}
    </li>
  );
}

function Counts({ online, total }: { online: number; total: number }) {
  return (
    <span className="ml-auto shrink-0 font-normal text-ink-2 text-sm">
      <span className="sr-only">, {online} online of </span>
      <span aria-hidden>{online}/</span>
      {total}
    </span>
  );
}
