import { useInfiniteQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type Row, useTable } from "@tanstack/react-table";
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { Bell, Columns3 } from "lucide-react";
import { memo, type ReactNode, useLayoutEffect, useMemo, useRef, useState } from "react";
import { rowsOf } from "../../api/query";
import type { Agent, AgentSort } from "../../api/types";
import { plural } from "../../lib/format";
import { useElementWidth, useWide } from "../../lib/media";
import type { AgentFilter } from "../../routes/search";
import { Badge } from "../../ui/badge";
import { Button } from "../../ui/button";
import { cn } from "../../ui/cn";
import { Menu, MenuCheck, MenuLabel } from "../../ui/menu";
import { ErrorState, SkeletonRows } from "../../ui/states";
import { SortTh, Table, Td, Th, Tr } from "../../ui/table";
import { AgentStatusLabel } from "./agent-status";
import { AGENT_COLUMNS, columns, features, readVisibility, writeVisibility } from "./columns";
import { agentsQuery } from "./queries";

const ROW_PX = 40;
const COMPACT_ROW_PX = 60;

/** Machines by filter: sorted and paged by the server, drawn only as far as they are on the screen. */
export function AgentTable({
  filter,
  onSort,
  toolbar,
  empty,
  hide = [],
}: {
  filter: AgentFilter;
  onSort: (sort: AgentSort, order: "asc" | "desc") => void;
  toolbar?: ReactNode;
  empty: ReactNode;
  /** Columns that say the same in every row here. */
  hide?: readonly string[];
}) {
  const wide = useWide();
  const [visibility, setVisibility] = useState(readVisibility);
  const query = useInfiniteQuery(agentsQuery(filter));
  const agents = useMemo(() => rowsOf(query.data), [query.data]);
  const total = query.data?.pages.at(-1)?.total ?? 0;
  const columnVisibility = useMemo(() => {
    const shown = { ...visibility };
    for (const id of hide) shown[id] = false;
    if (!wide) for (const { id } of AGENT_COLUMNS) shown[id] = id === "hostname" || id === "status";
    return shown;
  }, [visibility, hide, wide]);
  const table = useTable({
    features,
    columns,
    data: agents,
    getRowId: (agent) => agent.id,
    state: { columnVisibility },
  });
  const rows = table.getRowModel().rows;
  const shownColumns = AGENT_COLUMNS.filter(({ id }) => columnVisibility[id]);
  const neededPx = wide ? shownColumns.reduce((sum, { width }) => sum + width, 0) : 0;
  const [frame, setFrame] = useState<HTMLDivElement | null>(null);
  const fits = useElementWidth(frame) >= neededPx;

  const body = useRef<HTMLTableSectionElement>(null);
  const [scrollMargin, setScrollMargin] = useState(0);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the rows stand elsewhere once the frame appears
  useLayoutEffect(() => {
    const top = body.current?.getBoundingClientRect().top;
    if (top !== undefined) setScrollMargin(top + window.scrollY);
  }, [frame]);
  const rowPx = wide ? ROW_PX : COMPACT_ROW_PX;
  const virtualizer = useWindowVirtualizer({
    count: rows.length,
    estimateSize: () => rowPx,
    overscan: 15,
    scrollMargin,
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: rows of another height are measured anew
  useLayoutEffect(() => virtualizer.measure(), [rowPx]);
  const virtualRows = virtualizer.getVirtualItems();
  const first = virtualRows[0];
  const last = virtualRows.at(-1);
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = query;
  const nearEnd = last !== undefined && last.index >= rows.length - 25;
  useLayoutEffect(() => {
    if (nearEnd && hasNextPage && !isFetchingNextPage) void fetchNextPage();
  }, [nearEnd, hasNextPage, isFetchingNextPage, fetchNextPage]);

  const sort = filter.sort ?? "hostname";
  const order = filter.order ?? "asc";
  return (
    <section className="rounded-lg border border-line bg-surface" aria-label="Agents">
      <div className="flex flex-wrap items-center gap-2 border-b px-3 py-2">
        {toolbar}
        <span className="ml-auto flex items-center gap-3">
          <span className="text-ink-2 text-sm" aria-live="polite">
            {query.data && plural(total, "agent")}
          </span>
          {wide && (
            <Menu
              trigger={
                <Button size="sm">
                  <Columns3 aria-hidden />
                  Columns
                </Button>
              }
            >
              <MenuLabel>Show</MenuLabel>
              {AGENT_COLUMNS.filter(({ id }) => id !== "hostname" && !hide.includes(id)).map(
                ({ id, label }) => (
                  <MenuCheck
                    key={id}
                    checked={visibility[id] ?? false}
                    onCheckedChange={(checked) => {
                      const next = { ...visibility, [id]: checked };
                      setVisibility(next);
                      writeVisibility(next);
                    }}
                  >
                    {label}
                  </MenuCheck>
                ),
              )}
            </Menu>
          )}
        </span>
      </div>
      {query.isPending ? (
        <SkeletonRows rows={8} />
      ) : query.isError && agents.length === 0 ? (
        <ErrorState error={query.error} onRetry={() => query.refetch()} />
      ) : agents.length === 0 ? (
        empty
      ) : (
        // A scrolling frame would take the heading's stickiness away, so it scrolls only where it must.
        <div ref={setFrame} className={cn(!fits && "overflow-x-auto")}>
          <Table
            aria-rowcount={total + 1}
            aria-busy={query.isPlaceholderData}
            className="table-fixed"
            style={{ minWidth: neededPx || undefined }}
          >
            <colgroup>
              {shownColumns.map(({ id, width }) => (
                <col key={id} style={{ width: wide || id !== "hostname" ? width : undefined }} />
              ))}
            </colgroup>
            <thead className={cn(fits && "sticky top-12 z-10 bg-surface lg:top-0")}>
              <tr aria-rowindex={1}>
                {shownColumns.map(({ id, label, sort: key }) =>
                  key ? (
                    <SortTh
                      key={id}
                      direction={sort === key ? order : null}
                      onSort={() => onSort(key, sort === key && order === "asc" ? "desc" : "asc")}
                    >
                      {label}
                    </SortTh>
                  ) : (
                    <Th key={id}>{label}</Th>
                  ),
                )}
              </tr>
            </thead>
            <tbody ref={body}>
              {first && first.index > 0 && (
                <Spacer height={first.start - scrollMargin} columns={shownColumns.length} />
              )}
              {virtualRows.map(({ index }) => {
                const row = rows[index];
                return row ? (
                  <AgentRow
                    key={row.id}
                    row={row}
                    agent={row.original}
                    index={index}
                    compact={!wide}
                    columnIds={shownColumns.map(({ id }) => id).join()}
                  />
                ) : null;
              })}
              {last && (
                <Spacer
                  height={virtualizer.getTotalSize() - (last.end - scrollMargin)}
                  columns={shownColumns.length}
                />
              )}
            </tbody>
          </Table>
        </div>
      )}
      {isFetchingNextPage && <SkeletonRows rows={2} />}
      {query.isFetchNextPageError && (
        <ErrorState className="py-6" error={query.error} onRetry={() => fetchNextPage()} />
      )}
    </section>
  );
}

/** Stands for the rows that are not drawn. */
function Spacer({ height, columns }: { height: number; columns: number }) {
  if (height <= 0) return null;
  return (
    <tr aria-hidden>
      <td colSpan={columns} style={{ height }} className="p-0" />
    </tr>
  );
}

const AgentRow = memo(function AgentRow({
  row,
  agent,
  index,
  compact,
}: {
  row: Row<typeof features, Agent>;
  agent: Agent;
  index: number;
  compact: boolean;
  /** A change of the columns draws the row anew. */
  columnIds: string;
}) {
  return (
    <Tr className="relative" aria-rowindex={index + 2}>
      {row.getVisibleCells().map((cell) =>
        cell.column.id === "hostname" ? (
          <Td key={cell.id} className={compact ? "h-15" : "h-10"}>
            <div className="flex min-w-0 items-center gap-2">
              <Link
                to="/agents/$agentId"
                params={{ agentId: agent.id }}
                className="truncate rounded-sm font-medium after:absolute after:inset-0"
                title={agent.hostname}
              >
                {agent.hostname}
              </Link>
              {agent.duplicate_hostname && <Badge>duplicate</Badge>}
              {agent.open_alerts > 0 && (
                <span className="inline-flex shrink-0 items-center gap-0.5 font-medium text-warn text-xs">
                  <Bell aria-hidden className="size-3" />
                  {agent.open_alerts}
                  <span className="sr-only">
                    {agent.open_alerts === 1 ? " open alert" : " open alerts"}
                  </span>
                </span>
              )}
            </div>
            {compact && (
              <p className="truncate text-ink-2 text-sm">
                {agent.client_name} / {agent.site_name}
              </p>
            )}
          </Td>
        ) : compact && cell.column.id === "status" ? (
          <Td key={cell.id}>
            <AgentStatusLabel agent={agent} />
          </Td>
        ) : (
          <Td key={cell.id} className="h-10 truncate text-ink-2">
            {renderCell(cell.column.columnDef.cell, cell.getContext())}
          </Td>
        ),
      )}
    </Tr>
  );
});

function renderCell<C>(cell: unknown, context: C): ReactNode {
  return typeof cell === "function" ? (cell as (context: C) => ReactNode)(context) : null;
}
