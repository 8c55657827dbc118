import { ArrowDown, ArrowUp, Pause, Play, X } from "lucide-react";
import { useState, useSyncExternalStore } from "react";
import { formatBytes, formatCount, formatDuration, formatRate } from "../../../lib/format";
import { Button } from "../../../ui/button";
import { cn } from "../../../ui/cn";
import { isOnItsWay, type Transfer, type Transfers } from "./transfers";

/** Of many, those that matter now are shown. */
const SHOWN = 50;
const ORDER: Record<Transfer["state"], number> = {
  exists: 0,
  failed: 1,
  running: 2,
  checking: 2,
  interrupted: 3,
  paused: 4,
  waiting: 5,
  done: 6,
};

/** The files on their way, below the list. */
export function TransferList({ transfers }: { transfers: Transfers }) {
  const list = useSyncExternalStore(transfers.onChange, transfers.getList);
  const [isOpen, setOpen] = useState(true);
  if (list.length === 0) return null;
  const onWay = list.filter(isOnItsWay).length;
  const failed = list.filter(({ state }) => state === "failed" || state === "exists").length;
  const done = list.filter(({ state }) => state === "done").length;
  const shown = [...list].sort((a, b) => ORDER[a.state] - ORDER[b.state]).slice(0, SHOWN);
  const summary = [
    onWay > 0 && `${formatCount(onWay)} on the way`,
    failed > 0 && `${formatCount(failed)} need you`,
    done > 0 && `${formatCount(done)} done`,
  ]
    .filter(Boolean)
    .join(", ");
  return (
    <section aria-label="Transfers" className="shrink-0 border-t bg-canvas">
      <header className="flex items-center justify-between gap-3 px-3 py-1.5">
        <button
          type="button"
          aria-expanded={isOpen}
          onClick={() => setOpen(!isOpen)}
          className="rounded-sm px-1 font-medium text-base"
        >
          Transfers
          {summary && <span className="font-normal text-ink-2">: {summary}</span>}
        </button>
        {done > 0 && (
          <Button size="sm" variant="quiet" onClick={() => transfers.removeDone()}>
            Clear what is done
          </Button>
        )}
      </header>
      {isOpen && (
        <ul className="scroll-thin max-h-48 overflow-y-auto border-t">
          {shown.map((transfer) => (
            <Row key={transfer.id} transfer={transfer} transfers={transfers} />
          ))}
          {list.length > SHOWN && (
            <li className="px-4 py-1.5 text-ink-3 text-sm">
              and {formatCount(list.length - SHOWN)} more
            </li>
          )}
        </ul>
      )}
    </section>
  );
}

function Row({ transfer, transfers }: { transfer: Transfer; transfers: Transfers }) {
  const { id, direction, name, path, size, done, state } = transfer;
  const Arrow = direction === "up" ? ArrowUp : ArrowDown;
  const percent = size ? Math.min(100, (done / size) * 100) : state === "done" ? 100 : 0;
  const isMoving = isOnItsWay(transfer);
  return (
    <li className="grid grid-cols-[1rem_minmax(0,1fr)_auto] items-center gap-x-2.5 border-b px-3 py-1.5 last:border-b-0">
      <Arrow
        aria-label={direction === "up" ? "Upload" : "Download"}
        className="size-4 text-ink-3"
      />
      <div className="min-w-0">
        <div className="flex items-baseline justify-between gap-3">
          <span className="truncate text-base" title={path}>
            {name}
          </span>
          <span
            className={cn(
              "truncate text-right text-sm",
              state === "failed" || state === "exists" ? "text-crit" : "text-ink-2",
            )}
          >
            {words(transfer)}
          </span>
        </div>
        <div
          role="progressbar"
          aria-label={name}
          aria-valuemin={0}
          aria-valuemax={100}
          aria-valuenow={size === null && state !== "done" ? undefined : Math.round(percent)}
          className="mt-1 h-1 overflow-hidden rounded-full bg-line"
        >
          <div
            className={cn(
              "h-full rounded-full",
              state === "failed" ? "bg-crit" : state === "done" ? "bg-ok" : "bg-accent",
              size === null && isMoving && "w-1/3 animate-breathe",
            )}
            style={size === null && isMoving ? undefined : { width: `${percent}%` }}
          />
        </div>
      </div>
      <div className="flex items-center gap-1">
        {state === "exists" && (
          <Button size="sm" onClick={() => transfers.replace(id)}>
            Replace
          </Button>
        )}
        {isMoving && (
          <Button
            size="iconSm"
            variant="quiet"
            aria-label={`Pause ${name}`}
            onClick={() => transfers.pause(id)}
          >
            <Pause aria-hidden />
          </Button>
        )}
        {(state === "paused" || state === "failed") && (
          <Button
            size="iconSm"
            variant="quiet"
            aria-label={state === "paused" ? `Go on with ${name}` : `Try ${name} again`}
            onClick={() => transfers.resume(id)}
          >
            <Play aria-hidden />
          </Button>
        )}
        <Button
          size="iconSm"
          variant="quiet"
          aria-label={state === "done" ? `Clear ${name}` : `Give up ${name}`}
          onClick={() => transfers.remove(id)}
        >
          <X aria-hidden />
        </Button>
      </div>
    </li>
  );
}

function words({ state, done, size, bytesPerSecond, error }: Transfer): string {
  const amount = size === null ? formatBytes(done) : `${formatBytes(done)} of ${formatBytes(size)}`;
  switch (state) {
    case "waiting":
      return "Waits";
    case "checking":
      return `Checks what is there: ${amount}`;
    case "paused":
      return `Paused at ${amount}`;
    case "interrupted":
      return `Link lost at ${amount}, goes on by itself`;
    case "exists":
      return "There is a file of this name";
    case "failed":
      return error ?? "Failed";
    case "done":
      return `${formatBytes(size ?? done)}, checksum right`;
    case "running": {
      const left =
        size !== null && bytesPerSecond
          ? `, ${formatDuration((size - done) / bytesPerSecond)}`
          : "";
      return bytesPerSecond === null ? amount : `${amount}, ${formatRate(bytesPerSecond)}${left}`;
    }
  }
}
