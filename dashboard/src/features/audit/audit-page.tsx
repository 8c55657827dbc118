import { infiniteQueryOptions, useInfiniteQuery, useMutation } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { Download, ShieldCheck } from "lucide-react";
import { useCallback, useState } from "react";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import { byPages, rowsOf } from "../../api/query";
import type { AuditEntry, AuditVerdict } from "../../api/types";
import { formatCount } from "../../lib/format";
import { useWide } from "../../lib/media";
import { Button } from "../../ui/button";
import { cn } from "../../ui/cn";
import { Sheet } from "../../ui/dialog";
import { Input, SearchInput } from "../../ui/input";
import { Menu, MenuLink } from "../../ui/menu";
import { PagedList } from "../../ui/paged-list";
import { Fact, Facts } from "../../ui/panel";
import { EmptyState } from "../../ui/states";
import { Table, Td, Th, Tr } from "../../ui/table";
import { DateTime, RelativeTime } from "../../ui/time";
import { toast } from "../../ui/toast";
import { PageHeader } from "../shell/page-header";

interface Filter {
  search?: string;
  action?: string;
  from?: string;
  to?: string;
}

/** The address holds days; the server wants moments. A day means the whole of it, in the reader's own time. */
function toQuery({ search, action, from, to }: Filter) {
  const day = (text: string, time: string) => {
    const at = new Date(`${text}T${time}`);
    return Number.isNaN(at.getTime()) ? undefined : at.toISOString();
  };
  return {
    search: search || undefined,
    action: action || undefined,
    from: from ? day(from, "00:00:00") : undefined,
    to: to ? day(to, "23:59:59.999") : undefined,
  };
}

const auditQuery = (filter: Filter) =>
  infiniteQueryOptions({
    queryKey: [...keys.audit, filter],
    queryFn: ({ pageParam, signal }) =>
      unwrap(
        api.GET("/api/v1/audit", {
          params: { query: { ...toQuery(filter), limit: 50, cursor: pageParam } },
          signal,
        }),
      ),
    ...byPages,
  });

export function AuditPage() {
  const filter = useSearch({ from: "/app/audit" });
  const navigate = useNavigate({ from: "/audit" });
  const wide = useWide();
  const query = useInfiniteQuery(auditQuery(filter));
  const entries = rowsOf(query.data);
  const [shown, setShown] = useState<AuditEntry | null>(null);
  const set = useCallback(
    (change: Filter) => navigate({ search: (former) => ({ ...former, ...change }), replace: true }),
    [navigate],
  );
  const search = useCallback((text: string) => set({ search: text.trim() || undefined }), [set]);
  const byAction = useCallback((text: string) => set({ action: text.trim() || undefined }), [set]);
  const narrowed = Object.values(filter).some(Boolean);
  return (
    <>
      <PageHeader
        title="Audit log"
        documentTitle="Audit log"
        meta="Every change and every sensitive read. Each entry is chained to the one before it, so nothing can be altered unseen."
        actions={
          <>
            <Verify />
            <Menu
              trigger={
                <Button>
                  <Download aria-hidden />
                  Export
                </Button>
              }
            >
              <MenuLink>
                <a href="/api/v1/audit/export?format=csv" download>
                  As CSV
                </a>
              </MenuLink>
              <MenuLink>
                <a href="/api/v1/audit/export?format=jsonl" download>
                  As JSON lines
                </a>
              </MenuLink>
            </Menu>
          </>
        }
      />
      <section className="rounded-lg border border-line bg-surface" aria-label="Entries">
        <div className="flex flex-wrap items-center gap-2 border-b px-3 py-2">
          <SearchInput
            label="Search the audit log"
            placeholder="Person, target, action"
            value={filter.search ?? ""}
            onSearch={search}
            className="w-full sm:w-60"
          />
          <SearchInput
            label="Action"
            placeholder="Action, e.g. agent.deleted"
            value={filter.action ?? ""}
            onSearch={byAction}
            className="w-full sm:w-60"
          />
          <DayInput label="From day" value={filter.from} onChange={(from) => set({ from })} />
          <span aria-hidden className="text-ink-3">
            to
          </span>
          <DayInput label="To day" value={filter.to} onChange={(to) => set({ to })} />
          {narrowed && (
            <Button
              size="sm"
              variant="quiet"
              onClick={() => navigate({ search: {}, replace: true })}
            >
              Clear
            </Button>
          )}
        </div>
        <PagedList
          query={query}
          skeletonRows={10}
          empty={
            <EmptyState title={narrowed ? "No entry matches" : "Nothing has been recorded yet"} />
          }
        >
          <Table>
            <thead>
              <tr>
                <Th>When</Th>
                {wide && <Th>Who</Th>}
                <Th>Action</Th>
                {wide && <Th>Target</Th>}
                {wide && <Th>From</Th>}
              </tr>
            </thead>
            <tbody>
              {entries.map((entry) => (
                <Tr key={entry.id} className="relative">
                  <Td className={cn("text-ink-2", wide ? "w-44" : "w-24")}>
                    {wide ? <DateTime time={entry.at} /> : <RelativeTime time={entry.at} />}
                  </Td>
                  {wide && <Td className="max-w-40 truncate">{actor(entry)}</Td>}
                  <Td className={wide ? "max-w-56" : "max-w-0"}>
                    <button
                      type="button"
                      onClick={() => setShown(entry)}
                      className="block max-w-full truncate rounded-sm text-left font-mono text-sm after:absolute after:inset-0"
                    >
                      {entry.action}
                    </button>
                    {!wide && (
                      <p className="truncate text-ink-2 text-sm">
                        {actor(entry)}
                        {entry.target_name && `, ${entry.target_name}`}
                      </p>
                    )}
                  </Td>
                  {wide && (
                    <Td className="max-w-56 truncate text-ink-2">
                      {entry.target_name ?? entry.target_kind ?? "–"}
                    </Td>
                  )}
                  {wide && <Td className="w-36 font-mono text-ink-2 text-sm">{entry.ip ?? "–"}</Td>}
                </Tr>
              ))}
            </tbody>
          </Table>
        </PagedList>
      </section>
      <Sheet
        open={shown !== null}
        onOpenChange={(open) => {
          if (!open) setShown(null);
        }}
        title={shown?.action ?? "Entry"}
        description={shown && <DateTime time={shown.at} />}
      >
        {shown && <EntryDetail entry={shown} />}
      </Sheet>
    </>
  );
}

function actor(entry: AuditEntry): string {
  return entry.actor_name ?? (entry.actor_kind === "system" ? "The server" : entry.actor_kind);
}

function DayInput({
  label,
  value,
  onChange,
}: {
  label: string;
  value: string | undefined;
  onChange: (value: string | undefined) => void;
}) {
  return (
    <Input
      type="date"
      aria-label={label}
      value={value ?? ""}
      onChange={(event) => onChange(event.target.value || undefined)}
      className="h-8 w-36"
    />
  );
}

function EntryDetail({ entry }: { entry: AuditEntry }) {
  return (
    <div className="grid gap-5 p-5">
      <Facts>
        <Fact label="Who">{actor(entry)}</Fact>
        <Fact label="Kind">{entry.actor_kind}</Fact>
        <Fact label="Target">
          {[entry.target_kind, entry.target_name].filter(Boolean).join(": ") || null}
        </Fact>
        <Fact label="Target id" mono>
          {entry.target_id}
        </Fact>
        <Fact label="From address" mono>
          {entry.ip}
        </Fact>
        <Fact label="Request" mono>
          {entry.request_id}
        </Fact>
        <Fact label="Number">{formatCount(entry.seq)}</Fact>
      </Facts>
      <div>
        <h2 className="mb-1.5 font-semibold text-base">Detail</h2>
        <pre className="whitespace-pre-wrap rounded-md border border-line bg-sunken px-3 py-2.5 font-mono text-sm wrap-anywhere">
          {JSON.stringify(entry.detail, null, 2)}
        </pre>
      </div>
    </div>
  );
}

function Verify() {
  const verify = useMutation({
    mutationFn: () => unwrap(api.GET("/api/v1/audit/verify")),
    onError: toast.failed,
  });
  return (
    <span className="flex items-center gap-3">
      {verify.data && <Verdict verdict={verify.data} />}
      <Button busy={verify.isPending} onClick={() => verify.mutate()}>
        <ShieldCheck aria-hidden />
        Verify chain
      </Button>
    </span>
  );
}

function Verdict({ verdict }: { verdict: AuditVerdict }) {
  return (
    <span
      role="status"
      title={`Head ${verdict.head}`}
      className={cn("text-base", verdict.ok ? "text-ok" : "font-medium text-crit")}
    >
      {verdict.ok
        ? `Intact, ${formatCount(verdict.entries)} entries`
        : `Broken at entry ${formatCount(verdict.first_bad_seq ?? 0)}`}
    </span>
  );
}
