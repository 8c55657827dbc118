import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { X } from "lucide-react";
import { useCallback } from "react";
import type { AgentFilter } from "../../routes/search";
import { Button } from "../../ui/button";
import { FilterMenu } from "../../ui/filter-menu";
import { SearchInput } from "../../ui/input";
import { EmptyState } from "../../ui/states";
import { useCan } from "../session/session";
import { PageHeader } from "../shell/page-header";
import { treeQuery } from "../tenancy/queries";
import { AGENT_STATUSES } from "./agent-status";
import { AgentTable } from "./agent-table";
import { MACHINE_TYPES } from "./virtualization";

const OS = [
  { value: "", label: "Any system" },
  { value: "linux", label: "Linux" },
  { value: "windows", label: "Windows" },
  { value: "macos", label: "macOS" },
] as const;

const TYPES = [{ value: "", label: "Any type" }, ...MACHINE_TYPES] as const;

export function AgentsPage() {
  const filter = useSearch({ from: "/app/agents" });
  const navigate = useNavigate({ from: "/agents" });
  const canEnroll = useCan("read_keys");
  const set = useCallback(
    (change: Partial<AgentFilter>) =>
      navigate({ search: (former) => ({ ...former, ...change }), replace: true }),
    [navigate],
  );
  const search = useCallback((text: string) => set({ search: text.trim() || undefined }), [set]);
  const { sort: _sort, order: _order, ...narrowing } = filter;
  const narrowed = Object.values(narrowing).some(Boolean);
  return (
    <>
      <PageHeader
        title="Agents"
        documentTitle="Agents"
        actions={
          canEnroll && (
            <Button asChild variant="primary">
              <Link to="/enrollment">Add a machine</Link>
            </Button>
          )
        }
      />
      <AgentTable
        filter={filter}
        onSort={(sort, order) => set({ sort, order })}
        toolbar={
          <>
            <SearchInput
              label="Search agents"
              placeholder="Host name, user, IP"
              value={filter.search ?? ""}
              onSearch={search}
              className="w-full sm:w-64"
            />
            <FilterMenu
              label="Status"
              options={AGENT_STATUSES}
              value={filter.status ?? ""}
              onChange={(value) => set({ status: value || undefined })}
            />
            <FilterMenu
              label="System"
              options={OS}
              value={filter.os_type ?? ""}
              onChange={(value) => set({ os_type: value || undefined })}
            />
            <FilterMenu
              label="Type"
              options={TYPES}
              value={filter.machine_type ?? ""}
              onChange={(value) => set({ machine_type: value || undefined })}
            />
            <PlaceFilter filter={filter} onChange={set} />
            {narrowed && (
              <Button
                size="sm"
                variant="quiet"
                onClick={() =>
                  navigate({ search: { sort: filter.sort, order: filter.order }, replace: true })
                }
              >
                <X aria-hidden />
                Clear
              </Button>
            )}
          </>
        }
        empty={
          narrowed ? (
            <EmptyState title="No agent matches">Loosen or clear the filter.</EmptyState>
          ) : (
            <EmptyState
              title="No machines yet"
              action={
                canEnroll && (
                  <Button asChild variant="primary">
                    <Link to="/enrollment">Enroll the first machine</Link>
                  </Button>
                )
              }
            >
              A machine appears here as soon as its agent has enrolled.
            </EmptyState>
          )
        }
      />
    </>
  );
}

function PlaceFilter({
  filter,
  onChange,
}: {
  filter: AgentFilter;
  onChange: (change: Partial<AgentFilter>) => void;
}) {
  const tree = useQuery(treeQuery);
  const options = [
    { value: "", label: "Any place" },
    ...(tree.data?.clients ?? []).flatMap((client) => [
      { value: `client:${client.id}`, label: client.name },
      ...client.sites.map((site) => ({
        value: `site:${site.id}`,
        label: `${client.name} / ${site.name}`,
      })),
    ]),
  ];
  const value = filter.site_id
    ? `site:${filter.site_id}`
    : filter.client_id
      ? `client:${filter.client_id}`
      : "";
  return (
    <FilterMenu
      label="Place"
      options={options}
      value={value}
      onChange={(next) => {
        const [kind, id] = next.split(":");
        onChange({
          client_id: kind === "client" ? id : undefined,
          site_id: kind === "site" ? id : undefined,
        });
      }}
    />
  );
}
