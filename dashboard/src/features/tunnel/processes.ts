import type { Sort } from "../../ui/grid";
import type { Process } from "./wire";

/** A process in the tree, or in the flat list with level 0. */
export interface ProcessRow {
  process: Process;
  level: number;
  /** How many are below it. */
  children: number;
}

export const keyOfProcess = ({ pid, started_ms }: Process) => `${pid}-${started_ms}`;

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

const COMPARE: Record<string, (a: Process, b: Process) => number> = {
  name: (a, b) => collator.compare(a.name, b.name) || a.pid - b.pid,
  pid: (a, b) => a.pid - b.pid,
  user: (a, b) => collator.compare(a.user ?? "", b.user ?? "") || a.pid - b.pid,
  cpu: (a, b) => (a.cpu_percent ?? 0) - (b.cpu_percent ?? 0) || b.pid - a.pid,
  memory: (a, b) => a.memory_bytes - b.memory_bytes || b.pid - a.pid,
};

/** What a process is found by. */
function matches({ name, command_line, user, pid }: Process, wanted: string): boolean {
  return [name, command_line ?? "", user ?? "", String(pid)].some((text) =>
    text.toLowerCase().includes(wanted),
  );
}

/** All that match, in order; as a tree those above a match stand there too, unless they are folded. */
export function arrange(
  processes: readonly Process[],
  {
    text,
    sort: { by, isDescending },
    isTree,
    folded,
  }: { text: string; sort: Sort; isTree: boolean; folded: ReadonlySet<string> },
): ProcessRow[] {
  const compare = COMPARE[by] ?? COMPARE.name;
  const order = (a: Process, b: Process) => (isDescending ? -1 : 1) * (compare?.(a, b) ?? 0);
  const wanted = text.trim().toLowerCase();
  if (!isTree) {
    return processes
      .filter((process) => !wanted || matches(process, wanted))
      .sort(order)
      .map((process) => ({ process, level: 0, children: 0 }));
  }
  const byPid = new Map(processes.map((process) => [process.pid, process]));
  const below = new Map<Process | null, Process[]>();
  for (const process of processes) {
    const parent = parentOf(process, byPid);
    const siblings = below.get(parent);
    if (siblings) siblings.push(process);
    else below.set(parent, [process]);
  }
  const kept = new Set<Process>();
  for (const process of processes) {
    if (wanted && !matches(process, wanted)) continue;
    for (let at: Process | null = process; at && !kept.has(at); at = parentOf(at, byPid))
      kept.add(at);
  }
  const rows: ProcessRow[] = [];
  const visit = (parent: Process | null, level: number) => {
    const children = (below.get(parent) ?? []).filter((process) => kept.has(process)).sort(order);
    for (const process of children) {
      const own = (below.get(process) ?? []).filter((child) => kept.has(child)).length;
      rows.push({ process, level, children: own });
      if (!folded.has(keyOfProcess(process))) visit(process, level + 1);
    }
  };
  visit(null, 0);
  return rows;
}

/** The process that started it, if it is still the one that had that number then. */
function parentOf(process: Process, byPid: ReadonlyMap<number, Process>): Process | null {
  const parent = process.parent === undefined ? undefined : byPid.get(process.parent);
  if (!parent || parent === process) return null;
  // A number is given out again; a parent is never younger. The clock of a start may be coarse.
  if (parent.started_ms > process.started_ms + 1_000) return null;
  // Of the same start two could be each other's parents; the smaller number is the elder.
  if (parent.started_ms >= process.started_ms && parent.pid > process.pid) return null;
  return parent;
}
