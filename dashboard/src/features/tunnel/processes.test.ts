import { describe, expect, it } from "vitest";
import { arrange } from "./processes";
import type { Process } from "./wire";

const process = (pid: number, parent: number | undefined, name: string, more = {}): Process => ({
  ...{ pid, started_ms: pid * 10_000, parent, name, memory_bytes: pid },
  ...more,
});
const NONE: ReadonlySet<string> = new Set();
const BY_PID = { by: "pid", isDescending: false };
const tree = (processes: Process[], text = "", folded = NONE) =>
  arrange(processes, { text, sort: BY_PID, isTree: true, folded }).map(
    ({ process: { pid }, level, children }) => [pid, level, children],
  );

const some = [
  process(1, undefined, "systemd"),
  process(20, 1, "sshd"),
  process(30, 20, "bash", { user: "maya", cpu_percent: 50 }),
  process(40, 1, "cron"),
];

describe("processes", () => {
  it("stand below those that started them", () => {
    expect(tree(some)).toEqual([
      [1, 0, 2],
      [20, 1, 1],
      [30, 2, 0],
      [40, 1, 0],
    ]);
    expect(tree(some, "", new Set(["20-200000"]))).toEqual([
      [1, 0, 2],
      [20, 1, 1],
      [40, 1, 0],
    ]);
  });

  it("that match stand with those above them", () => {
    expect(tree(some, "MAYA").map(([pid]) => pid)).toEqual([1, 20, 30]);
  });

  it("in a flat list are in order", () => {
    const rows = arrange(some, {
      text: "",
      sort: { by: "cpu", isDescending: true },
      isTree: false,
      folded: NONE,
    });
    expect(rows.map(({ process: { pid } }) => pid)).toEqual([30, 1, 20, 40]);
  });

  it("whose parent's number was given out again are at the top, and circles end", () => {
    const later = process(90, undefined, "new");
    expect(tree([later, process(20, 90, "old")])).toEqual([
      [20, 0, 0],
      [90, 0, 0],
    ]);
    const same = { started_ms: 5 };
    const circle = [process(7, 8, "a", same), process(8, 7, "b", same), process(9, 9, "c", same)];
    expect(tree(circle)).toEqual([
      [7, 0, 1],
      [8, 1, 0],
      [9, 0, 0],
    ]);
  });
});
