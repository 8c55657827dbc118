import { useMutation } from "@tanstack/react-query";
import { Ellipsis, Pause, Play } from "lucide-react";
import { useEffect, useMemo, useState } from "react";
import { formatBytes, formatCount, formatDateTime, formatPercent, plural } from "../../lib/format";
import { useWide } from "../../lib/media";
import { errorMessage } from "../../lib/problem";
import { Button } from "../../ui/button";
import { Confirm } from "../../ui/confirm";
import { CopyBlock } from "../../ui/copy";
import { Dialog } from "../../ui/dialog";
import { type Column, Grid, type Sort } from "../../ui/grid";
import { SearchInput } from "../../ui/input";
import { Menu, MenuItem, MenuLabel, MenuRadioGroup, MenuSeparator } from "../../ui/menu";
import { Fact, Facts } from "../../ui/panel";
import { Segmented } from "../../ui/segmented";
import { EmptyState, ErrorState, SkeletonRows } from "../../ui/states";
import { toast } from "../../ui/toast";
import { Checkbox } from "../../ui/toggle";
import { arrange, keyOfProcess, type ProcessRow } from "./processes";
import { openProcesses, type Processes } from "./requests";
import { useRequests, useTunnel, useTunnelState, whyNot } from "./tunnel-react";
import { Unavailable } from "./unavailable";
import type { Priority, Process, ProcessFigures } from "./wire";

const INTERVAL_MS = 2_000;

interface Snapshot {
  processes: Process[];
  figures: ProcessFigures;
}

/** What runs on the machine, again and again. */
export function ProcessesTab() {
  const state = useTunnelState(useTunnel());
  const processes = useRequests(openProcesses);
  const reason = whyNot(state, "processes");
  if (reason) return <Unavailable kind="processes" reason={reason} />;
  if (!processes) return <SkeletonRows rows={12} />;
  return <Watched channel={processes} />;
}

function Watched({ channel }: { channel: Processes }) {
  const isWide = useWide();
  const [round, setRound] = useState(0);
  const { snapshot, error } = useProcesses(channel, round);
  const [held, setHeld] = useState<Snapshot | null>(null);
  const [text, setText] = useState("");
  const [view, setView] = useState<"tree" | "list">("tree");
  const [sort, setSort] = useState<Sort>({ by: "pid", isDescending: false });
  const [folded, setFolded] = useState<ReadonlySet<string>>(new Set());
  const [shown, setShown] = useState<Process | null>(null);
  const [killed, setKilled] = useState<Process | null>(null);
  const now = held ?? snapshot;
  const rows = useMemo(
    () => arrange(now?.processes ?? [], { text, sort, isTree: view === "tree", folded }),
    [now, text, sort, view, folded],
  );
  const setPriority = useMutation({
    mutationFn: ({ process, priority }: { process: Process; priority: Priority }) =>
      channel.ask({ do: "set_priority", process: keyed(process), priority }),
    onSuccess: () => toast.done("The priority is set."),
    onError: toast.failed,
  });
  if (error && !now) {
    return <ErrorState error={error} onRetry={() => setRound(round + 1)} />;
  }
  if (!now) return <SkeletonRows rows={12} />;
  const fold = ({ process }: ProcessRow, isExpanded: boolean) => {
    const next = new Set(folded);
    if (isExpanded) next.delete(keyOfProcess(process));
    else next.add(keyOfProcess(process));
    setFolded(next);
  };
  return (
    <section aria-label="Processes" className="absolute inset-0 flex flex-col bg-surface">
      <div className="flex flex-wrap items-center gap-2 border-b px-3 py-1.5">
        <SearchInput
          label="Search processes"
          placeholder="Name, command, user, number"
          value={text}
          onSearch={setText}
          className="w-full sm:w-64"
        />
        <Segmented
          label="Arranged"
          value={view}
          onChange={setView}
          options={[
            { value: "tree", label: "Tree" },
            { value: "list", label: "List" },
          ]}
        />
        <Button size="sm" onClick={() => setHeld(held ? null : now)}>
          {held ? <Play aria-hidden /> : <Pause aria-hidden />}
          {held ? "Go on" : "Hold"}
        </Button>
        <Figures figures={now.figures} />
      </div>
      {rows.length === 0 ? (
        <EmptyState title={text ? "No process matches" : "The machine names no process"} />
      ) : (
        <Grid
          label="Processes"
          rows={rows}
          rowKey={({ process }) => keyOfProcess(process)}
          rowText={({ process }) => process.name}
          columns={isWide ? WIDE : NARROW}
          isWide={isWide}
          sort={sort}
          onSort={({ by, isDescending }) =>
            // Of figures the largest are looked for.
            setSort({
              by,
              isDescending: by === sort.by ? isDescending : by === "cpu" || by === "memory",
            })
          }
          tree={
            view === "tree"
              ? {
                  level: ({ level }) => level,
                  isExpanded: ({ process, children }) =>
                    children === 0 ? null : !folded.has(keyOfProcess(process)),
                  onExpand: fold,
                }
              : undefined
          }
          onOpen={({ process }) => setShown(process)}
          onKey={(event, { process }) => {
            if (event.key !== "Delete") return false;
            setKilled(process);
            return true;
          }}
          menu={({ process }, tabIndex) => (
            <Menu
              trigger={
                <Button
                  size="iconSm"
                  variant="quiet"
                  tabIndex={tabIndex}
                  aria-label={`Actions for ${process.name} (${process.pid})`}
                >
                  <Ellipsis aria-hidden />
                </Button>
              }
            >
              <MenuItem onSelect={() => setShown(process)}>Details</MenuItem>
              <MenuSeparator />
              <MenuLabel>Priority</MenuLabel>
              <MenuRadioGroup
                value={process.priority ?? ""}
                onChange={(priority) => {
                  if (priority !== "") setPriority.mutate({ process, priority });
                }}
                options={PRIORITIES}
              />
              <MenuSeparator />
              <MenuItem danger onSelect={() => setKilled(process)}>
                End
              </MenuItem>
            </Menu>
          )}
          className="flex-1"
        />
      )}
      {shown && <Details process={shown} onClose={() => setShown(null)} />}
      {killed && <Kill channel={channel} process={killed} onClose={() => setKilled(null)} />}
    </section>
  );
}

const keyed = ({ pid, started_ms }: Process) => ({ pid, started_ms });

/** The list as it is now, renewed as long as the page shows it. */
function useProcesses(channel: Processes, round: number) {
  const [snapshot, setSnapshot] = useState<Snapshot | null>(null);
  const [error, setError] = useState<unknown>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another round is another try
  useEffect(() => {
    const controller = new AbortController();
    let coming: Process[] = [];
    setError(null);
    channel
      .ask(
        { do: "watch", interval_ms: INTERVAL_MS },
        {
          signal: controller.signal,
          onPart: (part) => {
            if (part.is === "processes") coming.push(...part.processes);
            else if (part.is === "figures") {
              setSnapshot({ processes: coming, figures: part });
              coming = [];
            }
          },
          onRestart: () => {
            coming = [];
          },
        },
      )
      .catch((failed) => {
        if (!controller.signal.aborted) setError(failed);
      });
    return () => controller.abort();
  }, [channel, round]);
  return { snapshot, error };
}

const PRIORITIES: readonly { value: Priority; label: string }[] = [
  { value: "highest", label: "Highest" },
  { value: "high", label: "High" },
  { value: "normal", label: "Normal" },
  { value: "low", label: "Low" },
  { value: "lowest", label: "Lowest" },
];
const PRIORITY_WORDS = Object.fromEntries(PRIORITIES.map(({ value, label }) => [value, label]));

function Figures({ figures }: { figures: ProcessFigures }) {
  return (
    <p className="ml-auto text-ink-2 text-sm">
      {plural(figures.processes, "process", "processes")}, CPU{" "}
      {formatPercent(figures.cpu_percent, 0)}, memory {formatBytes(figures.memory_used_bytes)} of{" "}
      {formatBytes(figures.memory_bytes)}
    </p>
  );
}

const cpuOf = ({ cpu_percent }: Process) =>
  cpu_percent === undefined ? "" : formatPercent(cpu_percent);

const WIDE: Column<ProcessRow>[] = [
  {
    ...{ id: "name", label: "Name", width: "minmax(12rem,1.2fr)", isSorted: true },
    cell: ({ process }) => <span className="block truncate">{process.name}</span>,
  },
  {
    ...{ id: "pid", label: "Number", width: "5rem", isSorted: true, isRight: true },
    cell: ({ process }) => <span className="text-ink-2">{process.pid}</span>,
  },
  {
    ...{ id: "cpu", label: "CPU", width: "5rem", isSorted: true, isRight: true },
    cell: ({ process }) => cpuOf(process),
  },
  {
    ...{ id: "memory", label: "Memory", width: "6rem", isSorted: true, isRight: true },
    cell: ({ process }) => formatBytes(process.memory_bytes),
  },
  {
    ...{ id: "user", label: "User", width: "8rem", isSorted: true },
    cell: ({ process }) => <span className="block truncate text-ink-2">{process.user ?? ""}</span>,
  },
  {
    ...{ id: "command", label: "Command line", width: "minmax(8rem,2fr)" },
    cell: ({ process }) => (
      <span className="block truncate font-mono text-ink-2 text-sm" title={process.command_line}>
        {process.command_line ?? ""}
      </span>
    ),
  },
];

const NARROW: Column<ProcessRow>[] = [
  {
    ...{ id: "name", label: "Name", width: "minmax(0,1fr)", isSorted: true },
    cell: ({ process }) => (
      <div className="min-w-0">
        <p className="truncate">
          {process.name} <span className="text-ink-3 text-sm">{process.pid}</span>
        </p>
        <p className="truncate text-ink-3 text-sm">{process.user ?? process.command_line ?? ""}</p>
      </div>
    ),
  },
  {
    ...{ id: "cpu", label: "CPU", width: "4rem", isSorted: true, isRight: true },
    cell: ({ process }) => <span className="text-sm">{cpuOf(process)}</span>,
  },
  {
    ...{ id: "memory", label: "Memory", width: "4.75rem", isSorted: true, isRight: true },
    cell: ({ process }) => <span className="text-sm">{formatBytes(process.memory_bytes)}</span>,
  },
];

function Details({ process, onClose }: { process: Process; onClose: () => void }) {
  return (
    <Dialog
      open
      onOpenChange={(open) => {
        if (!open) onClose();
      }}
      title={process.name}
    >
      <div className="grid gap-4">
        <Facts>
          <Fact label="Number">{process.pid}</Fact>
          <Fact label="Started by">{process.parent ?? "–"}</Fact>
          <Fact label="Started">{formatDateTime(process.started_ms)}</Fact>
          <Fact label="User">{process.user ?? "–"}</Fact>
          <Fact label="CPU">{cpuOf(process) || "–"}</Fact>
          <Fact label="Memory">{formatBytes(process.memory_bytes)}</Fact>
          <Fact label="Threads">
            {process.threads === undefined ? "–" : formatCount(process.threads)}
          </Fact>
          <Fact label="Priority">{PRIORITY_WORDS[process.priority ?? ""] ?? "–"}</Fact>
        </Facts>
        {process.command_line && <CopyBlock label="Command line" text={process.command_line} />}
      </div>
    </Dialog>
  );
}

function Kill({
  channel,
  process,
  onClose,
}: {
  channel: Processes;
  process: Process;
  onClose: () => void;
}) {
  const [isForced, setForced] = useState(false);
  const [withTree, setWithTree] = useState(false);
  const kill = useMutation({
    mutationFn: () =>
      channel.ask({ do: "kill", process: keyed(process), tree: withTree, force: isForced }),
    onSuccess: (answer) => {
      const count = answer.is === "killed" ? answer.processes : 1;
      toast.done(`${plural(count, "process", "processes")} ended.`);
      onClose();
    },
  });
  return (
    <Confirm
      open
      onOpenChange={(open) => {
        if (!open) onClose();
      }}
      title={`End ${process.name}?`}
      action={isForced ? "Kill" : "End"}
      busy={kill.isPending}
      error={kill.error && errorMessage(kill.error)}
      onConfirm={() => kill.mutate()}
    >
      <p>
        Process {process.pid}
        {process.user ? ` of ${process.user}` : ""}. What it has not saved is lost.
      </p>
      <Checkbox label="With all that it started" checked={withTree} onCheckedChange={setWithTree} />
      <Checkbox
        label="Without asking it first"
        hint="Windows never asks."
        checked={isForced}
        onCheckedChange={setForced}
      />
    </Confirm>
  );
}
