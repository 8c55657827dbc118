import { useQuery } from "@tanstack/react-query";
import { Pause, Play } from "lucide-react";
import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import { networkError, problemToError } from "../../../api/errors";
import { keys } from "../../../api/keys";
import { useElementWidth } from "../../../lib/media";
import { watchColors } from "../../../lib/theme";
import { Button } from "../../../ui/button";
import { Select } from "../../../ui/input";
import { ErrorState, Skeleton } from "../../../ui/states";
import { Checkbox } from "../../../ui/toggle";
import { failure } from "../failure";
import { readForReader } from "../terminal/preferences";
import { terminalTheme } from "../terminal/theme";
import type { Xterm } from "../terminal/xterm";
import { type Cast, CastReader } from "./cast";
import { Player } from "./player";
import { atTime } from "./times";

const SPEEDS = [0.5, 1, 2, 4, 8, 16];
const MOST_FONT_PX = 14;
const LEAST_FONT_PX = 9;
/** Of the letters, of their size; and what stands around the screen. */
const ADVANCE = 0.602;
const PADDING_PX = 20;

/** Where one wants to be in a recording; a new object is a new wish. */
export interface Jump {
  atMs: number;
}

/** A terminal of a recorded session, played. */
export function PlayerView({
  sessionId,
  channel,
  jump,
}: {
  sessionId: string;
  channel: number;
  jump: Jump | null;
}) {
  const query = useQuery({
    queryKey: [...keys.recording(sessionId), "cast", channel],
    queryFn: ({ signal }) => readCast(sessionId, channel, signal),
    gcTime: 0,
    staleTime: Number.POSITIVE_INFINITY,
    refetchOnWindowFocus: false,
  });
  if (query.isPending) {
    return (
      <div role="status" aria-label="Loading" className="grid h-80 content-start gap-2 p-4">
        <Skeleton className="h-3 w-40" />
        <Skeleton className="h-3 w-64" />
      </div>
    );
  }
  if (query.isError) return <ErrorState error={query.error} onRetry={() => query.refetch()} />;
  return <Played cast={query.data} jump={jump} />;
}

async function readCast(sessionId: string, channel: number, signal: AbortSignal): Promise<Cast> {
  const address = `/api/v1/recordings/${sessionId}/channels/${channel}/cast`;
  const answer = await fetch(address, { signal }).catch((cause) => {
    if (signal.aborted) throw cause;
    throw networkError();
  });
  if (!answer.ok || !answer.body) {
    throw problemToError(answer.status, await answer.json().catch(() => null));
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  const cast = new CastReader();
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    if (cast.push(read.value)) continue;
    await reader.cancel();
    break;
  }
  const whole = cast.finish();
  if (!whole) throw failure({ code: "failed", detail: "This recording cannot be read." });
  return whole;
}

function Played({ cast, jump }: { cast: Cast; jump: Jump | null }) {
  const [host, setHost] = useState<HTMLDivElement | null>(null);
  const width = useElementWidth(host);
  const xterm = useRef<Xterm | null>(null);
  const [player, setPlayer] = useState<Player | null>(null);
  const [columns, setColumns] = useState(cast.columns);
  const [failure, setFailure] = useState<Error | null>(null);
  useEffect(() => {
    if (!host) return;
    let isGone = false;
    let stopColors: (() => void) | null = null;
    const playing = import("../terminal/xterm").then(async ({ makeEmulator }) => {
      const options = {
        disableStdin: true,
        cursorBlink: false,
        theme: terminalTheme(),
        screenReaderMode: readForReader(),
      };
      const { xterm: made } = await makeEmulator({ ...options, fontSize: 12 }, () => undefined);
      if (isGone) return made.dispose();
      made.open(host);
      // The keys of whoever looks are the page's.
      made.attachCustomKeyEventHandler(() => false);
      if (made.textarea) made.textarea.tabIndex = -1;
      xterm.current = made;
      stopColors = watchColors(() => {
        requestAnimationFrame(() => {
          made.options.theme = terminalTheme();
        });
      });
      const played = new Player(cast, {
        reset: () => made.reset(),
        write: (text) => made.write(text),
        resize: (wide, high) => {
          made.resize(wide, high);
          setColumns(wide);
        },
      });
      played.seek(played.beginMs);
      setPlayer(played);
    });
    playing.catch(setFailure);
    return () => {
      isGone = true;
      stopColors?.();
      xterm.current?.dispose();
      xterm.current = null;
      setPlayer(null);
    };
  }, [cast, host]);
  // As large as the width allows, for the size that the terminal had.
  useEffect(() => {
    if (!xterm.current || !player || width === 0) return;
    const fits = Math.floor(((width - PADDING_PX) / (columns * ADVANCE)) * 2) / 2;
    xterm.current.options.fontSize = Math.min(MOST_FONT_PX, Math.max(LEAST_FONT_PX, fits));
  }, [player, width, columns]);
  useEffect(() => {
    // A little before, so that one sees it being typed.
    if (player && jump) player.seek(jump.atMs - 500);
  }, [player, jump]);
  // For the page to say.
  if (failure) throw failure;
  return (
    <div className="grid min-w-0">
      <section
        aria-label="The terminal as it was"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what is wider than the page is scrolled with the keyboard
        tabIndex={0}
        className="scroll-thin overflow-x-auto border-b bg-surface p-2.5 focus-visible:-outline-offset-2"
      >
        <div ref={setHost} className="min-h-72" />
      </section>
      {player && <Controls player={player} cast={cast} />}
      {cast.isCut && (
        <p className="border-t px-4 py-2 text-sm text-warn">
          The recording is longer than what is played here. The whole can be had as an asciicast.
        </p>
      )}
    </div>
  );
}

function Controls({ player, cast }: { player: Player; cast: Cast }) {
  const { atMs, isPlaying, speed, skipsIdle } = useSyncExternalStore(
    player.onState,
    player.getState,
  );
  useEffect(() => {
    if (!isPlaying) return;
    let before = performance.now();
    let frame = requestAnimationFrame(function draw(now) {
      player.advance(now - before);
      before = now;
      frame = requestAnimationFrame(draw);
    });
    return () => cancelAnimationFrame(frame);
  }, [player, isPlaying]);
  const span = Math.max(1, player.endMs - player.beginMs);
  const markers = cast.events.filter(({ kind }) => kind === "marker").slice(0, 500);
  return (
    <div className="flex flex-wrap items-center gap-x-4 gap-y-2 px-3 py-2">
      <Button
        size="icon"
        variant="primary"
        aria-label={isPlaying ? "Pause" : "Play"}
        onClick={() => player.play(!isPlaying)}
      >
        {isPlaying ? <Pause aria-hidden /> : <Play aria-hidden />}
      </Button>
      <div className="relative min-w-40 flex-1">
        <div aria-hidden className="pointer-events-none absolute inset-x-2 top-0 h-1.5">
          {markers.map((marker, index) => (
            <span
              // biome-ignore lint/suspicious/noArrayIndexKey: marks have no identity
              key={index}
              className="absolute h-1.5 w-0.5 rounded-full bg-accent"
              style={{ left: `${((marker.atMs - player.beginMs) / span) * 100}%` }}
            />
          ))}
        </div>
        <input
          type="range"
          aria-label="Place in the recording"
          aria-valuetext={atTime(atMs)}
          min={player.beginMs}
          max={player.endMs}
          step={100}
          value={atMs}
          onChange={({ target }) => player.seek(Number(target.value))}
          className="mt-1.5 block w-full accent-accent"
        />
      </div>
      <span className="text-ink-2 text-sm">
        {atTime(atMs)} of {atTime(player.endMs)}
      </span>
      <Select
        aria-label="Speed"
        value={speed}
        onChange={({ target }) => player.setSpeed(Number(target.value))}
        className="w-24"
      >
        {SPEEDS.map((one) => (
          <option key={one} value={one}>
            {one}×
          </option>
        ))}
      </Select>
      <Checkbox
        label="Skip what is idle"
        checked={skipsIdle}
        onCheckedChange={(next) => player.setSkipsIdle(next)}
      />
    </div>
  );
}
