import { describe, expect, it } from "vitest";
import { MAX_ROW_CHARS } from "../../ui/lines";
import { filterLines, type LogLine, parseLog, pattern, runs, toRows } from "./lines";

const AT = "2026-11-29T19:00:00.123456Z";
const LOG = [
  `${AT}  INFO gururmm_agent::supervisor: agent started agent_id=a version=0.1.0`,
  `${AT}  WARN gururmm_agent::supervisor::connect: the connection was lost`,
  "  and this belongs to it",
  `${AT} ERROR gururmm_agent: the program panicked: a.rs:1:2: Boom`,
  "",
].join("\n");

const joined = (line: LogLine, wanted: RegExp | null = null) =>
  toRows([line])
    .flatMap((row) => runs(row, wanted))
    .map(({ text }) => text)
    .join("");

describe("parseLog", () => {
  it("finds the level of each line; one without a level belongs to the one before", () => {
    expect(parseLog(LOG).lines.map(({ level }) => level)).toEqual([
      "INFO",
      "WARN",
      "WARN",
      "ERROR",
    ]);
    expect(parseLog("no level at all\n").lines).toEqual([{ text: "no level at all", level: null }]);
    expect(parseLog(`INFO ${AT}  ERROR`).lines[0]?.level).toBeNull();
  });

  it("drops what a terminal or a browser would take for an order, and keeps markup as it is", () => {
    const { lines } = parseLog("\u001b[31mred\u001b[0m \u202etxt.exe\u202c \u0007<b>x</b>\r\n");
    expect(lines.map(({ text }) => text)).toEqual(["red txt.exe <b>x</b>"]);
  });

  it("keeps the newest lines within bounds, and says how many it left out", () => {
    const { lines, dropped } = parseLog("a\nb\nc\nd\n", 2);
    expect(lines.map(({ text }) => text)).toEqual(["c", "d"]);
    expect(dropped).toBe(2);
    expect(parseLog("\n".repeat(2 * 1024 * 1024)).lines.length).toBe(50_000);
    expect(parseLog("").lines).toEqual([]);
  });
});

describe("filterLines", () => {
  const { lines } = parseLog(LOG);
  const filtered = (contains: string, level: Parameters<typeof filterLines>[1]["level"] = null) =>
    filterLines(lines, { contains, level }).length;

  it("takes what contains the text in any case, and never as a pattern", () => {
    expect(filtered("BOOM")).toBe(1);
    expect(filtered(" boom ")).toBe(1);
    expect(filtered("b.om")).toBe(0);
    expect(filtered("(")).toBe(0);
    expect(filtered("   ")).toBe(4);
  });

  it("takes a level and what is more pressing", () => {
    expect(filtered("", "ERROR")).toBe(1);
    expect(filtered("", "WARN")).toBe(3);
    expect(filtered("", "INFO")).toBe(4);
    expect(filtered("belongs", "ERROR")).toBe(0);
  });
});

describe("rows", () => {
  it("a very long line becomes many rows, none cut within a character", () => {
    const long = {
      text: `${"a".repeat(MAX_ROW_CHARS - 1)}${"\u{1f600}".repeat(3_000)}`,
      level: null,
    };
    const rows = toRows([long]);
    expect(rows.length).toBeGreaterThan(3);
    for (const { from, to } of rows) expect(to - from).toBeLessThanOrEqual(MAX_ROW_CHARS);
    expect(joined(long)).toBe(long.text);
    for (const { from } of rows) expect(long.text.charAt(from)).not.toMatch(/[\udc00-\udfff]/);
    expect(toRows([{ text: "", level: null }])).toHaveLength(1);
  });

  it("names time, level and source, and marks what was looked for", () => {
    const line = parseLog(LOG).lines[3] as LogLine;
    const [row] = toRows([line]);
    if (!row) throw new Error("no row");
    const parts = runs(row, pattern("boom"));
    expect(parts.map(({ part }) => part)).toEqual(["time", "level", "target", "text", "text"]);
    expect(parts.at(-1)).toEqual({ text: "Boom", part: "text", found: true });
    expect(joined(line, pattern("r"))).toBe(line.text);
  });

  it("finds what crosses the edge of two rows, and marks a bounded number", () => {
    const line = { text: `${"x".repeat(MAX_ROW_CHARS - 2)}needle`, level: null };
    const found = toRows([line]).map((row) =>
      runs(row, pattern("needle")).filter((run) => run.found),
    );
    expect(found.map((marks) => marks.map(({ text }) => text))).toEqual([["ne"], ["edle"]]);
    const many = { text: "ab".repeat(1_000), level: null };
    expect(toRows([many]).flatMap((row) => runs(row, pattern("a"))).length).toBeLessThan(150);
    expect(joined(many, pattern("a"))).toBe(many.text);
  });
});
