import { stripAnsi } from "../../lib/ansi";
import { MAX_ROW_CHARS } from "../../ui/lines";

/** From the most to the least pressing, as `tracing` names them. */
export const LEVELS = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"] as const;
export type Level = (typeof LEVELS)[number];

/** One line of a log, without what a terminal or a browser would take for an order. */
export interface LogLine {
  text: string;
  /** A line that names no level belongs to the one before it. */
  level: Level | null;
}

/** What one row on the screen shows: a line, or a piece of a very long one. */
export interface LogRow {
  line: LogLine;
  /** Where the row's piece of the line starts. */
  from: number;
  to: number;
}

/** Lines for the screen. The file that can be downloaded is complete; the page says when it shows only the end. */
const MAX_LINES = 50_000;

const MAX_NEEDLE_CHARS = 200;
/** Matches that are marked in one row. */
const MAX_MARKS = 50;

/** `2026-11-29T19:00:00.123456Z  INFO gururmm_agent::supervisor: text`, the plain format of `tracing_subscriber`. */
const HEAD =
  /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))\s+(ERROR|WARN|INFO|DEBUG|TRACE)\s(?:(\s*[\w:]+):(?=\s|$))?/;

/** The lines of a text, and how many were left out at its beginning. */
export function parseLog(text: string, most = MAX_LINES): { lines: LogLine[]; dropped: number } {
  const parts = text.split("\n");
  // The end of the last line begins no new one.
  if (parts.at(-1) === "") parts.pop();
  const dropped = Math.max(0, parts.length - most);
  const lines: LogLine[] = [];
  let level: Level | null = null;
  for (const part of parts.slice(dropped)) {
    const line = stripAnsi(part);
    const own = HEAD.exec(line)?.[2] as Level | undefined;
    level = own ?? level;
    lines.push({ text: line, level });
  }
  return { lines, dropped };
}

export interface LogFilter {
  /** Part of a line, in any case. */
  contains: string;
  /** The least pressing level that is shown; null shows all. */
  level: Level | null;
}

/** What matches `contains`; null when there is nothing to look for. */
export function pattern(contains: string): RegExp | null {
  const needle = contains.trim().slice(0, MAX_NEEDLE_CHARS);
  return needle === "" ? null : new RegExp(needle.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "gi");
}

export function filterLines(
  lines: readonly LogLine[],
  { contains, level }: LogFilter,
): readonly LogLine[] {
  const wanted = pattern(contains);
  const least = level === null ? null : LEVELS.indexOf(level);
  if (!wanted && least === null) return lines;
  return lines.filter(
    (line) =>
      (least === null || (line.level !== null && LEVELS.indexOf(line.level) <= least)) &&
      (!wanted || line.text.search(wanted) !== -1),
  );
}

/** A line without an end is broken, so that one row never carries megabytes. */
export function toRows(lines: readonly LogLine[]): LogRow[] {
  const rows: LogRow[] = [];
  for (const line of lines) {
    let from = 0;
    do {
      let to = Math.min(line.text.length, from + MAX_ROW_CHARS);
      // Not within a character of two units.
      if (to < line.text.length && /[\ud800-\udbff]/.test(line.text.charAt(to - 1))) to -= 1;
      rows.push({ line, from, to });
      from = to;
    } while (from < line.text.length);
  }
  return rows;
}

export type Part = "time" | "level" | "target" | "text";

/** A run of a row that is drawn alike. */
export interface Run {
  text: string;
  part: Part;
  found: boolean;
}

/** A row in runs: what of it is time, level and source, and where it matches. */
export function runs({ line, from, to }: LogRow, wanted: RegExp | null): Run[] {
  const { text } = line;
  const parts: { part: Part; end: number }[] = [];
  const head = HEAD.exec(text);
  if (head) {
    const [whole, time = "", level = "", target] = head;
    const levelEnd = text.indexOf(level, time.length) + level.length;
    parts.push({ part: "time", end: time.length }, { part: "level", end: levelEnd });
    if (target !== undefined) parts.push({ part: "target", end: whole.length });
  }
  parts.push({ part: "text", end: text.length });

  const found: { start: number; end: number }[] = [];
  if (wanted) {
    // A match may begin in the row before and end in the one after.
    const around = Math.max(0, from - MAX_NEEDLE_CHARS);
    for (const match of text.slice(around, to + MAX_NEEDLE_CHARS).matchAll(wanted)) {
      const start = around + match.index;
      const end = start + match[0].length;
      if (end <= from) continue;
      if (start >= to || found.length >= MAX_MARKS) break;
      found.push({ start, end });
    }
  }
  const edges = [
    ...new Set([
      from,
      to,
      ...[
        ...parts.map(({ end }) => end),
        ...found.flatMap(({ start, end }) => [start, end]),
      ].filter((edge) => edge > from && edge < to),
    ]),
  ].sort((a, b) => a - b);
  return edges.slice(0, -1).map((start, index) => ({
    text: text.slice(start, edges[index + 1]),
    part: parts.find(({ end }) => start < end)?.part ?? "text",
    found: found.some((match) => start >= match.start && start < match.end),
  }));
}
