import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { Download } from "lucide-react";
import { useMemo, useState } from "react";
import { rowsOf } from "../../../api/query";
import type { RecordingDetail } from "../../../api/types";
import { formatBytes, formatCount, formatDuration } from "../../../lib/format";
import { Badge } from "../../../ui/badge";
import { Button } from "../../../ui/button";
import { cn } from "../../../ui/cn";
import { SearchInput } from "../../../ui/input";
import { PagedList } from "../../../ui/paged-list";
import { Panel } from "../../../ui/panel";
import { EmptyState } from "../../../ui/states";
import { DateTime } from "../../../ui/time";
import { ObjectFallback } from "../../shell/fallbacks";
import { PageHeader } from "../../shell/page-header";
import { recordedEventsQuery, recordingQuery } from "../sessions-queries";
import { happened } from "./happenings";
import { type Jump, PlayerView } from "./player-view";
import { atTime } from "./times";

/** A session with a machine as it was recorded. */
export function ReplayPage() {
  const { sessionId } = useParams({ from: "/app/sessions/$sessionId" });
  const query = useQuery(recordingQuery(sessionId));
  if (!query.data) return <ObjectFallback kind="Recording" query={query} />;
  return <Replay recording={query.data} />;
}

function Replay({ recording }: { recording: RecordingDetail }) {
  const { channel: chosen, at } = useSearch({ from: "/app/sessions/$sessionId" });
  const navigate = useNavigate({ from: "/sessions/$sessionId" });
  const terminals = recording.channels.filter(({ has_cast }) => has_cast);
  const shown = terminals.find(({ channel }) => channel === chosen) ?? terminals[0];
  const [jump, setJump] = useState<Jump | null>(at === undefined ? null : { atMs: at });
  const jumpTo = (channel: number, atMs: number) => {
    setJump({ atMs });
    if (channel !== shown?.channel) {
      navigate({ search: { channel, at: atMs }, replace: true, resetScroll: false });
    }
  };
  const end = recording.ended_at ?? recording.last_at;
  const seconds = (new Date(end).getTime() - new Date(recording.started_at).getTime()) / 1000;
  const missing = recording.gaps.reduce((sum, { bytes }) => sum + bytes, 0);
  return (
    <>
      <PageHeader
        documentTitle={`Session with ${recording.hostname}`}
        title={`Session with ${recording.hostname}`}
        crumbs={[{ label: "Sessions", link: { to: "/sessions" } }]}
        status={recording.ended_at === null && <Badge tone="accent">still open</Badge>}
        meta={
          <p className="flex flex-wrap gap-x-4 gap-y-0.5">
            <span>{recording.tech_name}</span>
            <DateTime time={recording.started_at} />
            <span>{formatDuration(seconds)}</span>
            <span>{formatBytes(recording.bytes)} stored</span>
          </p>
        }
        actions={
          <Button asChild>
            <Link to="/agents/$agentId" params={{ agentId: recording.agent_id }}>
              To the machine
            </Link>
          </Button>
        }
      />
      <div className="grid gap-5 2xl:grid-cols-[minmax(0,1fr)_22rem] 2xl:grid-rows-[auto_1fr]">
        <div className="grid min-w-0 content-start gap-5">
          <Panel
            flush
            title={shown ? shown.label || "Terminal" : "Terminals"}
            actions={
              <>
                {terminals.length > 1 &&
                  terminals.map(({ channel, label, from_ms }) => (
                    <Button
                      key={channel}
                      size="sm"
                      variant={channel === shown?.channel ? "primary" : "outline"}
                      aria-pressed={channel === shown?.channel}
                      onClick={() => jumpTo(channel, from_ms)}
                    >
                      {label || `Terminal ${channel}`}
                    </Button>
                  ))}
                {shown && (
                  <Button asChild size="sm" variant="quiet">
                    <a
                      href={`/api/v1/recordings/${recording.session_id}/channels/${shown.channel}/cast`}
                      download
                    >
                      <Download aria-hidden />
                      Asciicast
                    </a>
                  </Button>
                )}
              </>
            }
          >
            {shown ? (
              <PlayerView
                key={shown.channel}
                sessionId={recording.session_id}
                channel={shown.channel}
                jump={jump}
              />
            ) : (
              <EmptyState title="No terminal was opened in this session" />
            )}
          </Panel>
          {recording.cut_offs.map(({ at_ms }) => (
            <p
              key={at_ms}
              className="rounded-md border border-warn/40 bg-warn-soft px-4 py-2 text-base text-warn"
            >
              The recording was cut off at {atTime(at_ms)}: the server that wrote it ended, and some
              seconds after that are missing.
            </p>
          ))}
          {(missing > 0 || recording.is_cut) && (
            <p className="rounded-md border border-warn/40 bg-warn-soft px-4 py-2 text-base text-warn">
              {missing > 0 && `${formatBytes(missing)} that passed are not in the recording. `}
              {recording.is_cut && "There is more in it than is listed here."}
            </p>
          )}
        </div>
        <Commands recording={recording} onJump={jumpTo} />
        <Happenings sessionId={recording.session_id} />
      </div>
    </>
  );
}

/** As many lines show at a time. */
const SHOWN = 200;

function Commands({
  recording,
  onJump,
}: {
  recording: RecordingDetail;
  onJump: (channel: number, atMs: number) => void;
}) {
  const [text, setText] = useState("");
  const [most, setMost] = useState(SHOWN);
  const found = useMemo(() => {
    const wanted = text.trim().toLowerCase();
    return recording.commands.filter(
      ({ line }) => !wanted || (line ?? "").toLowerCase().includes(wanted),
    );
  }, [recording.commands, text]);
  return (
    <Panel flush title="What was typed" className="self-start 2xl:row-span-2">
      {recording.commands.length === 0 ? (
        <EmptyState title="Nothing was typed" />
      ) : (
        <>
          <div className="border-b p-2">
            <SearchInput label="Search these lines" value={text} onSearch={setText} />
          </div>
          <ol
            aria-label="Lines, in order"
            className="scroll-thin max-h-[32rem] overflow-y-auto py-1"
          >
            {found.slice(0, most).map(({ channel, at_ms, line, is_exact }, index) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: the same line may be typed twice at once
              <li key={`${channel}-${at_ms}-${index}`}>
                <button
                  type="button"
                  onClick={() => onJump(channel, at_ms)}
                  className="flex w-full min-w-0 gap-3 px-3 py-1 text-left font-mono text-sm hover:bg-hover focus-visible:-outline-offset-2"
                >
                  <span className="shrink-0 text-ink-3">{atTime(at_ms)}</span>
                  <span
                    className={cn("min-w-0 wrap-anywhere", line === null && "font-sans text-ink-3")}
                    title={
                      is_exact
                        ? undefined
                        : "Keys were pressed that do more than type; the shell may have run something else."
                    }
                  >
                    {line === null ? "not shown while it was typed" : line}
                    {!is_exact && line !== null && <span className="text-ink-3"> …</span>}
                  </span>
                </button>
              </li>
            ))}
            {found.length === 0 && (
              <li className="px-3 py-2 text-ink-3 text-sm">No line matches</li>
            )}
          </ol>
          {found.length > most && (
            <div className="flex justify-center border-t p-2">
              <Button size="sm" onClick={() => setMost(most + SHOWN)}>
                {formatCount(found.length - most)} more
              </Button>
            </div>
          )}
        </>
      )}
    </Panel>
  );
}

function Happenings({ sessionId }: { sessionId: string }) {
  const query = useInfiniteQuery(recordedEventsQuery(sessionId));
  return (
    <Panel flush title="What happened" className="self-start">
      <PagedList query={query} empty={<EmptyState title="Nothing else was recorded" />}>
        <ol aria-label="What happened, in order">
          {rowsOf(query.data).map((event, index) => (
            <li
              // biome-ignore lint/suspicious/noArrayIndexKey: what happened has no identity but its place
              key={index}
              className="flex gap-4 border-line border-b px-4 py-2 text-base last:border-b-0"
            >
              <span className="w-16 shrink-0 text-ink-3">{atTime(event.at_ms)}</span>
              <span className="min-w-0 wrap-anywhere">{happened(event)}</span>
            </li>
          ))}
        </ol>
      </PagedList>
    </Panel>
  );
}
