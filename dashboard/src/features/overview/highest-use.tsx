import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { Level } from "../../ui/level";
import { Panel } from "../../ui/panel";
import { Segmented } from "../../ui/segmented";
import { EmptyState, ErrorState, SkeletonRows } from "../../ui/states";
import { highestUseQuery, type Measure } from "./queries";

const MEASURES = [
  { value: "disk", label: "Disk" },
  { value: "memory", label: "Memory" },
  { value: "cpu", label: "CPU" },
] as const;

/** The online machines nearest to their limits. */
export function HighestUse() {
  const [measure, setMeasure] = useState<Measure>("disk");
  const query = useQuery(highestUseQuery(measure));
  return (
    <Panel
      title="Highest use"
      flush
      actions={
        <Segmented label="Measure" options={MEASURES} value={measure} onChange={setMeasure} />
      }
    >
      {query.isPending ? (
        <SkeletonRows rows={3} />
      ) : query.isError && !query.data ? (
        <ErrorState className="py-8" error={query.error} onRetry={() => query.refetch()} />
      ) : query.data.items.length === 0 ? (
        <EmptyState title="No machine is online" className="py-8">
          Their figures show here as soon as one connects.
        </EmptyState>
      ) : (
        <ul className="divide-y divide-line" aria-busy={query.isPlaceholderData}>
          {query.data.items.map((agent) => (
            <li
              key={agent.id}
              className="relative flex h-11 items-center gap-4 px-4 hover:bg-hover"
            >
              <Link
                to="/agents/$agentId"
                params={{ agentId: agent.id }}
                className="max-w-1/2 truncate rounded-sm font-medium after:absolute after:inset-0"
              >
                {agent.hostname}
              </Link>
              <span className="min-w-0 flex-1 truncate text-ink-2 text-sm">
                {agent.client_name} / {agent.site_name}
              </span>
              <Level percent={agent[`${measure}_percent`]} className="shrink-0" />
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}
