import { Download, WrapText } from "lucide-react";
import { type ReactNode, useMemo, useState } from "react";
import { formatCount, plural } from "../../lib/format";
import { useWide } from "../../lib/media";
import { Button } from "../../ui/button";
import { CopyButton } from "../../ui/copy";
import { FilterMenu } from "../../ui/filter-menu";
import { SearchInput } from "../../ui/input";
import { Lines } from "../../ui/lines";
import {
  filterLines,
  type Level,
  type LogRow,
  type Part,
  parseLog,
  pattern,
  runs,
  toRows,
} from "./lines";

const LEVEL_OPTIONS: readonly { value: Level | ""; label: string }[] = [
  { value: "", label: "Every level" },
  { value: "ERROR", label: "Errors" },
  { value: "WARN", label: "Warnings and errors" },
  { value: "INFO", label: "Info and above" },
  { value: "DEBUG", label: "Debug and above" },
];

const LEVEL_COLORS: Record<Level, string> = {
  ERROR: "text-crit font-medium",
  WARN: "text-warn font-medium",
  INFO: "text-accent",
  DEBUG: "text-ink-3",
  TRACE: "text-ink-3",
};

const PART_COLORS: Record<Part, string> = {
  time: "text-ink-3",
  level: "text-ink-2",
  target: "text-ink-2",
  text: "text-ink",
};

/** The text of a log, to be looked through; text and nothing but text. */
export function LogView({
  head,
  text,
  file,
  placeholder,
}: {
  /** What stands above it: which log this is. */
  head: ReactNode;
  text: string;
  /** The name under which it is saved. */
  file: string;
  placeholder: string;
}) {
  const wide = useWide();
  const [wrap, setWrap] = useState(!wide);
  const [contains, setContains] = useState("");
  const [level, setLevel] = useState<Level | "">("");
  const { lines, dropped } = useMemo(() => parseLog(text), [text]);
  const shown = useMemo(
    () => filterLines(lines, { contains, level: level || null }),
    [lines, contains, level],
  );
  const rows = useMemo(() => toRows(shown), [shown]);
  const wanted = useMemo(() => pattern(contains), [contains]);
  const narrowed = wanted !== null || level !== "";
  const levelled = useMemo(() => lines.some((line) => line.level !== null), [lines]);
  return (
    <>
      <header className="flex flex-wrap items-start justify-between gap-3 border-b px-4 py-3 sm:flex-nowrap">
        <div className="grid min-w-0 gap-1">{head}</div>
        <div className="flex shrink-0 gap-2">
          <CopyButton
            text={shown.map((line) => line.text).join("\n")}
            label={narrowed ? "Copy these lines" : "Copy"}
          />
          <Button size="sm" onClick={() => save(text, file)}>
            <Download aria-hidden />
            Download
          </Button>
        </div>
      </header>
      <div className="flex flex-wrap items-center gap-2 border-b px-4 py-2">
        <SearchInput
          label="Lines that contain"
          value={contains}
          onSearch={setContains}
          className="w-full sm:w-60"
        />
        {levelled && (
          <FilterMenu label="Level" options={LEVEL_OPTIONS} value={level} onChange={setLevel} />
        )}
        <Button
          size="sm"
          aria-pressed={wrap}
          onClick={() => setWrap(!wrap)}
          className={toggle(wrap)}
        >
          <WrapText aria-hidden />
          Wrap
        </Button>
        <p aria-live="polite" className="ml-auto text-ink-2 text-sm">
          {narrowed
            ? `${formatCount(shown.length)} of ${plural(lines.length, "line")}`
            : plural(lines.length, "line")}
          {levelled && ", times in UTC"}
        </p>
      </div>
      {dropped > 0 && (
        <p className="border-b bg-sunken px-4 py-1.5 text-ink-2 text-sm">
          {plural(dropped, "earlier line is", "earlier lines are")} only in the download.
        </p>
      )}
      <Lines
        // Each selection of lines is read from its end.
        key={`${level} ${contains}`}
        label="Log"
        placeholder={narrowed ? "No line matches." : placeholder}
        count={rows.length}
        revision={rows}
        wrap={wrap}
        className="max-h-[70vh] min-h-60 rounded-b-lg xl:max-h-[max(24rem,calc(100dvh-26rem))]"
        length={(index) => {
          const row = rows[index];
          return row ? row.to - row.from : 0;
        }}
        row={(index) => {
          const row = rows[index];
          return {
            key: index,
            marked: row?.line.level === "ERROR",
            content: row && <RowText row={row} wanted={wanted} />,
          };
        }}
      />
    </>
  );
}

function toggle(on: boolean) {
  return on ? "border-accent bg-accent-soft text-accent" : undefined;
}

function RowText({ row, wanted }: { row: LogRow; wanted: RegExp | null }) {
  return runs(row, wanted).map(({ text, part, found }, position) => {
    const level = part === "level" ? row.line.level : null;
    const color = level ? LEVEL_COLORS[level] : PART_COLORS[part];
    const Run = found ? "mark" : "span";
    return (
      <Run
        // biome-ignore lint/suspicious/noArrayIndexKey: the runs of a row have no identity
        key={position}
        className={found ? "rounded-xs bg-accent text-accent-ink" : color}
      >
        {text}
      </Run>
    );
  });
}

/** The text as it came, also what is not drawn. */
function save(text: string, file: string) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = file;
  link.click();
  // The browser reads it after the click.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
