import { Radio, Square } from "lucide-react";
import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import { formatCount, formatDateTime, plural } from "../../lib/format";
import { useWide } from "../../lib/media";
import { Badge, type Tone } from "../../ui/badge";
import { Button } from "../../ui/button";
import { CopyBlock } from "../../ui/copy";
import { Dialog } from "../../ui/dialog";
import { Field } from "../../ui/field";
import { type Column, Grid } from "../../ui/grid";
import { Input, Select } from "../../ui/input";
import { Fact, Facts } from "../../ui/panel";
import { EmptyState, ErrorState, SkeletonRows } from "../../ui/states";
import { type EventQuery, EventReader } from "./events";
import { useTunnel, useTunnelState, whyNot } from "./tunnel-react";
import { Unavailable } from "./unavailable";
import { type Level, type LogEntry, level as levelWord } from "./wire";

const HOUR_MS = 3_600_000;
const SPANS: readonly { value: string; label: string; ms: number | undefined }[] = [
  { value: "1h", label: "The last hour", ms: HOUR_MS },
  { value: "24h", label: "The last day", ms: 24 * HOUR_MS },
  { value: "7d", label: "The last week", ms: 7 * 24 * HOUR_MS },
  { value: "all", label: "As far back as it goes", ms: undefined },
];
const LIMIT = 1_000;

/** The machine's own log. */
export function EventsTab({ osType }: { osType: string }) {
  const state = useTunnelState(useTunnel());
  const reason = whyNot(state, "events");
  const [query, setQuery] = useState<EventQuery>({ limit: LIMIT, sinceMs: HOUR_MS, follow: true });
  if (reason) return <Unavailable kind="events" reason={reason} />;
  return (
    <section aria-label="Event log" className="absolute inset-0 flex flex-col bg-surface">
      <Question osType={osType} query={query} onAsk={setQuery} />
      <Answer query={query} onAsk={setQuery} />
    </section>
  );
}

const LOG_WORDS: Record<string, { label: string; placeholder: string }> = {
  windows: { label: "Log", placeholder: "System and Application" },
  linux: { label: "Unit", placeholder: "All units" },
  macos: { label: "Process", placeholder: "All processes" },
};

function Question({
  osType,
  query,
  onAsk,
}: {
  osType: string;
  query: EventQuery;
  onAsk: (query: EventQuery) => void;
}) {
  const [log, setLog] = useState("");
  const [level, setLevel] = useState("");
  const [text, setText] = useState("");
  const [span, setSpan] = useState("1h");
  const words = LOG_WORDS[osType] ?? { label: "Log", placeholder: "All" };
  return (
    <form
      aria-label="What to read"
      className="flex flex-wrap items-end gap-x-3 gap-y-2 border-b px-3 py-2"
      onSubmit={(event) => {
        event.preventDefault();
        const sinceMs = SPANS.find(({ value }) => value === span)?.ms;
        onAsk({
          ...{ limit: LIMIT, follow: query.follow },
          ...(log.trim() && { log: log.trim() }),
          ...(levelWord.safeParse(level).success && { level: level as Level }),
          ...(text.trim() && { text: text.trim() }),
          ...(sinceMs !== undefined && { sinceMs }),
        });
      }}
    >
      <Field label={words.label} className="w-full sm:w-44">
        <Input
          value={log}
          placeholder={words.placeholder}
          autoComplete="off"
          spellCheck={false}
          onChange={({ target }) => setLog(target.value)}
          className="h-8"
        />
      </Field>
      <Field label="At least" className="w-[calc(50%-0.375rem)] sm:w-32">
        <Select value={level} onChange={({ target }) => setLevel(target.value)}>
          <option value="">Anything</option>
          <option value="info">Information</option>
          <option value="warning">Warning</option>
          <option value="error">Error</option>
          <option value="critical">Critical</option>
        </Select>
      </Field>
      <Field label="From" className="w-[calc(50%-0.375rem)] sm:w-44">
        <Select value={span} onChange={({ target }) => setSpan(target.value)}>
          {SPANS.map(({ value, label }) => (
            <option key={value} value={value}>
              {label}
            </option>
          ))}
        </Select>
      </Field>
      <Field label="Text that it contains" className="min-w-40 flex-1">
        <Input
          value={text}
          autoComplete="off"
          spellCheck={false}
          onChange={({ target }) => setText(target.value)}
          className="h-8"
        />
      </Field>
      <Button type="submit" variant="primary" className="h-9">
        Read
      </Button>
    </form>
  );
}

function Answer({ query, onAsk }: { query: EventQuery; onAsk: (query: EventQuery) => void }) {
  const tunnel = useTunnel();
  const [reader, setReader] = useState<EventReader | null>(null);
  useEffect(() => {
    const made = new EventReader(tunnel, query);
    setReader(made);
    return () => made.stop();
  }, [tunnel, query]);
  if (!reader) return <SkeletonRows rows={10} />;
  return <Entries reader={reader} query={query} onAsk={onAsk} />;
}

function Entries({
  reader,
  query,
  onAsk,
}: {
  reader: EventReader;
  query: EventQuery;
  onAsk: (query: EventQuery) => void;
}) {
  const isWide = useWide();
  const state = useSyncExternalStore(reader.onState, reader.getState);
  const [shown, setShown] = useState<LogEntry | null>(null);
  const numbered = useRef(new WeakMap<LogEntry, number>());
  const next = useRef(0);
  const { entries, phase } = state;
  const keyOf = (entry: LogEntry) => {
    const known = numbered.current.get(entry) ?? next.current++;
    numbered.current.set(entry, known);
    return String(known);
  };
  const rows = entries.toReversed();
  const isAwaited = entries.length === 0 && (phase === "reading" || phase === "lost");
  if (phase === "failed" && entries.length === 0) {
    return <ErrorState error={state.error} onRetry={() => onAsk({ ...query })} />;
  }
  return (
    <>
      <div className="flex flex-wrap items-center gap-2 border-b px-3 py-1">
        <p role="status" className="text-ink-2 text-sm">
          {isAwaited
            ? "Reading"
            : `${plural(entries.length, "entry", "entries")}, the newest first`}
          {state.hasMore && `; only the last ${formatCount(query.limit)} were read`}
          {state.dropped > 0 && `; ${formatCount(state.dropped)} older ones are no longer shown`}
          {phase === "lost" && "; the link is lost, it goes on when that is back"}
        </p>
        <Button
          size="sm"
          variant="quiet"
          className="ml-auto"
          aria-pressed={query.follow}
          onClick={() => onAsk({ ...query, follow: !query.follow })}
        >
          {query.follow ? <Square aria-hidden /> : <Radio aria-hidden />}
          {query.follow ? "Stop following" : "Follow"}
        </Button>
      </div>
      {isAwaited ? (
        <SkeletonRows rows={10} />
      ) : entries.length === 0 ? (
        <EmptyState title="Nothing was logged">
          {query.follow ? "What comes from now on shows here." : "Ask for more of the past."}
        </EmptyState>
      ) : (
        <Grid
          label="Entries"
          rows={rows}
          rowKey={keyOf}
          rowText={({ source }) => source}
          columns={isWide ? WIDE : NARROW}
          isWide={isWide}
          onOpen={setShown}
          className="flex-1"
        />
      )}
      {shown && <Details entry={shown} onClose={() => setShown(null)} />}
    </>
  );
}

const LEVELS: Record<Level, { words: string; tone: Tone }> = {
  critical: { words: "critical", tone: "crit" },
  error: { words: "error", tone: "crit" },
  warning: { words: "warning", tone: "warn" },
  info: { words: "info", tone: "idle" },
  debug: { words: "debug", tone: "idle" },
};

const LevelBadge = ({ level }: { level: Level }) => (
  <Badge tone={LEVELS[level].tone}>{LEVELS[level].words}</Badge>
);

const oneLine = (text: string) => text.replaceAll(/\s+/g, " ").slice(0, 400);

const WIDE: Column<LogEntry>[] = [
  {
    ...{ id: "time", label: "When", width: "12rem" },
    cell: ({ time_ms }) => <span className="text-ink-2">{formatDateTime(time_ms)}</span>,
  },
  {
    ...{ id: "level", label: "Level", width: "5rem" },
    cell: ({ level }) => <LevelBadge level={level} />,
  },
  {
    ...{ id: "source", label: "Source", width: "minmax(8rem,14rem)" },
    cell: ({ source, event_id }) => (
      <span className="block truncate">
        {source}
        {event_id !== undefined && <span className="text-ink-3"> {event_id}</span>}
      </span>
    ),
  },
  {
    ...{ id: "text", label: "Text", width: "minmax(12rem,1fr)" },
    cell: ({ text }) => (
      <span className="block truncate font-mono text-sm" title={text.slice(0, 400)}>
        {oneLine(text)}
      </span>
    ),
  },
];
const NARROW: Column<LogEntry>[] = [
  {
    ...{ id: "text", label: "Entry", width: "minmax(0,1fr)" },
    cell: ({ time_ms, level, source, text }) => (
      <div className="min-w-0">
        <p className="flex items-center gap-2 text-ink-3 text-sm">
          <LevelBadge level={level} />
          <span className="truncate">
            {formatDateTime(time_ms)}, {source}
          </span>
        </p>
        <p className="truncate font-mono text-sm">{oneLine(text)}</p>
      </div>
    ),
  },
];

function Details({ entry, onClose }: { entry: LogEntry; onClose: () => void }) {
  return (
    <Dialog
      open
      onOpenChange={(open) => {
        if (!open) onClose();
      }}
      title={entry.source}
      className="max-w-2xl"
    >
      <div className="grid gap-4">
        <Facts>
          <Fact label="When">{formatDateTime(entry.time_ms)}</Fact>
          <Fact label="Level">
            <LevelBadge level={entry.level} />
          </Fact>
          {entry.log !== undefined && <Fact label="Log">{entry.log}</Fact>}
          {entry.event_id !== undefined && <Fact label="Event">{entry.event_id}</Fact>}
          {entry.pid !== undefined && <Fact label="Process">{entry.pid}</Fact>}
        </Facts>
        <CopyBlock label="Text" text={entry.text} />
      </div>
    </Dialog>
  );
}
