import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { formatCount } from "../../lib/format";
import { Button } from "../../ui/button";
import { Panel } from "../../ui/panel";
import { EmptyState, ErrorState, SkeletonRows } from "../../ui/states";
import { treeQuery } from "../tenancy/queries";
import { type Place, places } from "./places";

const SHOWN = 6;

/** Which clients have machines that are not there. */
export function PlaceHealth() {
  const tree = useQuery(treeQuery);
  const all = tree.data ? places(tree.data.clients) : [];
  return (
    <Panel
      title={all[0]?.kind === "site" ? "Sites" : "Clients"}
      flush
      actions={
        <Button asChild size="sm" variant="quiet" className="-mr-2.5">
          <Link to="/clients">All clients</Link>
        </Button>
      }
    >
      {tree.isPending ? (
        <SkeletonRows rows={3} />
      ) : tree.isError && !tree.data ? (
        <ErrorState className="py-8" error={tree.error} onRetry={() => tree.refetch()} />
      ) : all.length === 0 ? (
        <EmptyState title="No clients yet" className="py-8" />
      ) : (
        <ul className="divide-y divide-line">
          {all.slice(0, SHOWN).map((place) => (
            <PlaceRow key={place.id} place={place} />
          ))}
        </ul>
      )}
    </Panel>
  );
}

function PlaceRow({ place }: { place: Place }) {
  const absent = place.total - place.online;
  const link =
    "min-w-0 flex-1 truncate rounded-sm font-medium after:absolute after:inset-0" as const;
  return (
    <li className="relative flex h-11 items-center gap-4 px-4 hover:bg-hover">
      {place.kind === "client" ? (
        <Link to="/clients/$clientId" params={{ clientId: place.id }} className={link}>
          {place.name}
        </Link>
      ) : (
        <Link to="/sites/$siteId" params={{ siteId: place.id }} className={link}>
          {place.name}
        </Link>
      )}
      <span className="text-ink-2 text-sm">
        {place.total === 0
          ? "no machines"
          : absent === 0
            ? "all online"
            : `${formatCount(absent)} not online`}
      </span>
      <span
        aria-hidden
        className="hidden h-1 w-24 overflow-hidden rounded-full bg-line-strong sm:block"
      >
        <span
          className="block h-full bg-ok"
          style={{ width: `${place.total > 0 ? (place.online / place.total) * 100 : 0}%` }}
        />
      </span>
      <span className="w-20 shrink-0 text-right text-ink-2">
        <span className="text-ink">{formatCount(place.online)}</span>
        <span aria-hidden> / </span>
        <span className="sr-only"> online of </span>
        {formatCount(place.total)}
      </span>
    </li>
  );
}
