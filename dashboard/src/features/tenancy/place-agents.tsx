import { useCallback, useState } from "react";
import type { AgentFilter } from "../../routes/search";
import { FilterMenu } from "../../ui/filter-menu";
import { SearchInput } from "../../ui/input";
import { EmptyState } from "../../ui/states";
import { AGENT_STATUSES } from "../agents/agent-status";
import { AgentTable } from "../agents/agent-table";

/** The machines of one client or one site. */
export function PlaceAgents({
  place,
  hide,
  empty,
}: {
  place: { client_id: string } | { site_id: string };
  hide: readonly string[];
  empty: React.ReactNode;
}) {
  const [filter, setFilter] = useState<AgentFilter>({});
  const search = useCallback(
    (text: string) => setFilter((former) => ({ ...former, search: text.trim() || undefined })),
    [],
  );
  return (
    <AgentTable
      filter={{ ...filter, ...place }}
      hide={hide}
      onSort={(sort, order) => setFilter({ ...filter, sort, order })}
      toolbar={
        <>
          <SearchInput
            label="Search agents"
            value={filter.search ?? ""}
            onSearch={search}
            className="w-full sm:w-64"
          />
          <FilterMenu
            label="Status"
            options={AGENT_STATUSES}
            value={filter.status ?? ""}
            onChange={(status) => setFilter({ ...filter, status: status || undefined })}
          />
        </>
      }
      empty={filter.search || filter.status ? <EmptyState title="No agent matches" /> : empty}
    />
  );
}
