import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Ellipsis, RefreshCw } from "lucide-react";
import { useMemo, useState } from "react";
import { keys } from "../../api/keys";
import { plural } from "../../lib/format";
import { useWide } from "../../lib/media";
import { errorMessage } from "../../lib/problem";
import { Status, type Tone } from "../../ui/badge";
import { Button } from "../../ui/button";
import { Confirm } from "../../ui/confirm";
import { Sheet } from "../../ui/dialog";
import { FilterMenu } from "../../ui/filter-menu";
import { type Column, Grid, type Sort } from "../../ui/grid";
import { SearchInput } from "../../ui/input";
import { Lines } from "../../ui/lines";
import { Menu, MenuItem, MenuLabel, MenuRadioGroup, MenuSeparator } from "../../ui/menu";
import { EmptyState, ErrorState, SkeletonRows } from "../../ui/states";
import { toast } from "../../ui/toast";
import { openServices, type Services } from "./requests";
import { useRequests, useTunnel, useTunnelState, whyNot } from "./tunnel-react";
import { Unavailable } from "./unavailable";
import type { Service, ServiceState, Startup } from "./wire";

const REFRESH_MS = 10_000;
const LOG_LINES = 500;

interface Listed {
  services: Service[];
  manager: string;
}

/** The machine's services. */
export function ServicesTab() {
  const state = useTunnelState(useTunnel());
  const services = useRequests(openServices);
  const reason = whyNot(state, "services");
  if (reason) return <Unavailable kind="services" reason={reason} />;
  if (!services) return <SkeletonRows rows={12} />;
  return <List channel={services} sessionId={state.facts?.session_id ?? ""} />;
}

async function listServices(channel: Services, signal: AbortSignal): Promise<Listed> {
  let services: Service[] = [];
  const reply = await channel.ask(
    { do: "list" },
    {
      signal,
      onPart: (part) => {
        if (part.is === "services") services.push(...part.services);
      },
      onRestart: () => {
        services = [];
      },
    },
  );
  return { services, manager: reply.is === "count" ? reply.manager : "" };
}

type Change = { do: "start" | "stop" | "restart" } | { do: "set_startup"; startup: Startup };

function List({ channel, sessionId }: { channel: Services; sessionId: string }) {
  const isWide = useWide();
  const queryClient = useQueryClient();
  const queryKey = [...keys.tunnel(sessionId), "services"];
  const query = useQuery({
    queryKey,
    queryFn: ({ signal }) => listServices(channel, signal),
    refetchInterval: REFRESH_MS,
    gcTime: 0,
  });
  const [text, setText] = useState("");
  const [only, setOnly] = useState<ServiceState | "">("");
  const [sort, setSort] = useState<Sort>({ by: "name", isDescending: false });
  const [logged, setLogged] = useState<Service | null>(null);
  const [stopped, setStopped] = useState<Service | null>(null);
  const change = useMutation({
    mutationFn: ({ service, what }: { service: Service; what: Change }) =>
      channel.ask({ ...what, name: service.name }),
    onSuccess: (answer, { service, what }) => {
      if (answer.is === "service") {
        const { service: now } = answer;
        queryClient.setQueryData<Listed>(
          queryKey,
          (former) =>
            former && {
              ...former,
              services: former.services.map((one) => (one.name === now.name ? now : one)),
            },
        );
      }
      toast.done(`${service.display_name || service.name} ${DONE[what.do]}.`);
      setStopped(null);
    },
    onError: (error, { what }) => {
      // The question whether to stop says it itself.
      if (what.do !== "stop") toast.failed(error);
    },
  });
  const rows = useMemo(() => {
    const wanted = text.trim().toLowerCase();
    const matching = (query.data?.services ?? []).filter(
      ({ name, display_name, state }) =>
        (only === "" || state === only) &&
        (!wanted || `${name} ${display_name}`.toLowerCase().includes(wanted)),
    );
    return matching.sort((a, b) => (sort.isDescending ? -1 : 1) * compare(a, b, sort.by));
  }, [query.data, text, only, sort]);
  if (query.isPending) return <SkeletonRows rows={12} />;
  if (query.isError && !query.data) {
    return <ErrorState error={query.error} onRetry={() => query.refetch()} />;
  }
  const hasLog = query.data?.manager !== "windows";
  return (
    <section aria-label="Services" className="absolute inset-0 flex flex-col bg-surface">
      <div className="flex flex-wrap items-center gap-2 border-b px-3 py-1.5">
        <SearchInput
          label="Search services"
          value={text}
          onSearch={setText}
          className="w-full sm:w-64"
        />
        <FilterMenu label="State" value={only} onChange={setOnly} options={STATE_OPTIONS} />
        <Button
          size="iconSm"
          variant="quiet"
          aria-label="Read again"
          onClick={() => query.refetch()}
        >
          <RefreshCw aria-hidden />
        </Button>
        <p className="ml-auto text-ink-3 text-sm">
          {plural(rows.length, "service")}
          {query.data?.manager ? `, ${MANAGERS[query.data.manager] ?? query.data.manager}` : ""}
        </p>
      </div>
      {rows.length === 0 ? (
        <EmptyState title={text || only ? "No service matches" : "The machine names no service"} />
      ) : (
        <Grid
          label="Services"
          rows={rows}
          rowKey={({ name }) => name}
          rowText={({ name }) => name}
          columns={isWide ? WIDE : NARROW}
          isWide={isWide}
          sort={sort}
          onSort={setSort}
          onOpen={hasLog ? setLogged : undefined}
          menu={(service, tabIndex) => (
            <ServiceMenu
              service={service}
              tabIndex={tabIndex}
              isWindows={!hasLog}
              onLog={() => setLogged(service)}
              onChange={(what) => {
                if (what.do === "stop") setStopped(service);
                else change.mutate({ service, what });
              }}
            />
          )}
          className="flex-1"
        />
      )}
      {logged && <Log channel={channel} service={logged} onClose={() => setLogged(null)} />}
      {stopped && (
        <Confirm
          open
          onOpenChange={(open) => {
            if (!open) setStopped(null);
          }}
          title={`Stop ${stopped.display_name || stopped.name}?`}
          action="Stop"
          busy={change.isPending}
          error={change.error && errorMessage(change.error)}
          onConfirm={() => change.mutate({ service: stopped, what: { do: "stop" } })}
        >
          <p>
            What depends on it stops with it. A service that connects you with this machine, such as
            its network, does not come back by itself.
          </p>
        </Confirm>
      )}
    </section>
  );
}

const DONE: Record<Change["do"], string> = {
  start: "is started",
  stop: "is stopped",
  restart: "is restarted",
  set_startup: "starts as chosen from now on",
};

const MANAGERS: Record<string, string> = {
  systemd: "systemd",
  launchd: "launchd",
  windows: "Windows",
};

const STATES: Record<ServiceState, { words: string; tone: Tone }> = {
  running: { words: "Running", tone: "ok" },
  stopped: { words: "Stopped", tone: "idle" },
  starting: { words: "Starting", tone: "accent" },
  stopping: { words: "Stopping", tone: "accent" },
  paused: { words: "Paused", tone: "warn" },
  failed: { words: "Failed", tone: "crit" },
  unknown: { words: "Unknown", tone: "idle" },
};
const STATE_OPTIONS: readonly { value: ServiceState | ""; label: string }[] = [
  { value: "", label: "Any state" },
  { value: "running", label: "Running" },
  { value: "stopped", label: "Stopped" },
  { value: "failed", label: "Failed" },
];

const STARTUPS: Record<Startup, string> = {
  automatic: "With the system",
  delayed: "A while after it",
  manual: "When asked",
  disabled: "Never",
  fixed: "As the system says",
};

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

function compare(a: Service, b: Service, by: string): number {
  const byName = collator.compare(a.name, b.name);
  if (by === "state") return collator.compare(a.state, b.state) || byName;
  if (by === "startup") return collator.compare(a.startup ?? "", b.startup ?? "") || byName;
  return byName;
}

function State({ service: { state } }: { service: Service }) {
  const { words, tone } = STATES[state];
  return (
    <Status tone={tone} className="text-base">
      {words}
    </Status>
  );
}

const WIDE: Column<Service>[] = [
  {
    ...{ id: "name", label: "Name", width: "minmax(12rem,1fr)", isSorted: true },
    cell: ({ name }) => (
      <span className="block truncate" title={name}>
        {name}
      </span>
    ),
  },
  {
    ...{ id: "state", label: "State", width: "7.5rem", isSorted: true },
    cell: (service) => <State service={service} />,
  },
  {
    ...{ id: "startup", label: "Starts", width: "9.5rem", isSorted: true },
    cell: ({ startup }) => (
      <span className="text-ink-2">{startup === undefined ? "" : STARTUPS[startup]}</span>
    ),
  },
  {
    ...{ id: "pid", label: "Process", width: "5rem", isRight: true },
    cell: ({ pid }) => <span className="text-ink-2">{pid ?? ""}</span>,
  },
  {
    ...{ id: "display", label: "What it is", width: "minmax(10rem,1.4fr)" },
    cell: ({ display_name }) => (
      <span className="block truncate text-ink-2" title={display_name}>
        {display_name}
      </span>
    ),
  },
];

const NARROW: Column<Service>[] = [
  {
    ...{ id: "name", label: "Name", width: "minmax(0,1fr)", isSorted: true },
    cell: ({ name, display_name }) => (
      <div className="min-w-0">
        <p className="truncate">{name}</p>
        <p className="truncate text-ink-3 text-sm">{display_name}</p>
      </div>
    ),
  },
  {
    ...{ id: "state", label: "State", width: "6.5rem", isSorted: true },
    cell: (service) => <State service={service} />,
  },
];

function ServiceMenu({
  service,
  tabIndex,
  isWindows,
  onLog,
  onChange,
}: {
  service: Service;
  tabIndex: number;
  isWindows: boolean;
  onLog: () => void;
  onChange: (what: Change) => void;
}) {
  const isUp = service.state === "running" || service.state === "paused";
  return (
    <Menu
      trigger={
        <Button
          size="iconSm"
          variant="quiet"
          tabIndex={tabIndex}
          aria-label={`Actions for ${service.name}`}
        >
          <Ellipsis aria-hidden />
        </Button>
      }
    >
      {!isUp && <MenuItem onSelect={() => onChange({ do: "start" })}>Start</MenuItem>}
      {isUp && <MenuItem onSelect={() => onChange({ do: "restart" })}>Restart</MenuItem>}
      {isUp && (
        <MenuItem danger onSelect={() => onChange({ do: "stop" })}>
          Stop
        </MenuItem>
      )}
      {!isWindows && <MenuItem onSelect={onLog}>Log</MenuItem>}
      {service.startup !== undefined && service.startup !== "fixed" && (
        <>
          <MenuSeparator />
          <MenuLabel>Starts</MenuLabel>
          <MenuRadioGroup
            value={service.startup}
            onChange={(startup) => onChange({ do: "set_startup", startup })}
            options={(
              [
                "automatic",
                ...(isWindows ? (["delayed"] as const) : []),
                "manual",
                "disabled",
              ] as const
            ).map((value) => ({ value, label: STARTUPS[value] }))}
          />
        </>
      )}
    </Menu>
  );
}

function Log({
  channel,
  service,
  onClose,
}: {
  channel: Services;
  service: Service;
  onClose: () => void;
}) {
  const query = useQuery({
    queryKey: ["service-log", service.name],
    queryFn: async ({ signal }) => {
      const lines: string[] = [];
      const take = (answer: { is: string; lines?: string[] }) => {
        if (answer.is === "log") lines.push(...(answer.lines ?? []));
      };
      const asked = { do: "log", name: service.name, lines: LOG_LINES } as const;
      take(await channel.ask(asked, { signal, onPart: take }));
      return lines;
    },
    gcTime: 0,
  });
  const lines = query.data ?? [];
  return (
    <Sheet
      open
      onOpenChange={(open) => {
        if (!open) onClose();
      }}
      title={`Log of ${service.name}`}
      description={`The last lines, at most ${LOG_LINES}.`}
      className="max-w-4xl"
    >
      {query.isPending && <SkeletonRows rows={8} />}
      {query.isError && <ErrorState error={query.error} onRetry={() => query.refetch()} />}
      {query.data && (
        <Lines
          count={lines.length}
          row={(index) => ({ key: index, content: lines[index] })}
          length={(index) => lines[index]?.length ?? 0}
          label={`Log of ${service.name}`}
          placeholder="It has written nothing."
          wrap
          className="max-h-none min-h-full"
        />
      )}
    </Sheet>
  );
}
