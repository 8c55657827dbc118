import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useRef, useSyncExternalStore } from "react";
import { formatCount } from "../lib/format";
import type { OutputLog } from "../lib/output-log";
import { cn } from "./cn";

const ROW_PX = 19;
const AT_END_PX = 24;

const COLORS: Record<string, string> = {
  black: "text-ink-3",
  red: "text-crit",
  green: "text-ok",
  yellow: "text-warn",
  blue: "text-rx",
  magenta: "text-memory",
  cyan: "text-accent",
  white: "text-ink",
};

/**
 * Output as text and nothing but text: rows on the screen only, however much there is. Follows the end until
 * someone scrolls away from it.
 */
export function OutputView({
  log,
  label,
  placeholder,
}: {
  log: OutputLog;
  label: string;
  placeholder: string;
}) {
  const version = useSyncExternalStore(log.subscribe, log.getVersion);
  const host = useRef<HTMLDivElement>(null);
  const following = useRef(true);
  const virtualizer = useVirtualizer({
    count: log.lines.length,
    getScrollElement: () => host.current,
    estimateSize: () => ROW_PX,
    overscan: 20,
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: `version` is what tells of new output
  useEffect(() => {
    if (following.current && log.lines.length > 0) {
      virtualizer.scrollToIndex(log.lines.length - 1, { align: "end" });
    }
  }, [version, log, virtualizer]);
  return (
    <div className="min-w-0">
      {log.dropped > 0 && (
        <p className="border-b bg-sunken px-4 py-1.5 text-ink-2 text-sm">
          {formatCount(log.dropped)} earlier lines are not shown here.
        </p>
      )}
      <div
        ref={host}
        role="log"
        aria-label={label}
        aria-live="off"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolling region must be reachable with the keyboard
        tabIndex={0}
        onScroll={({ currentTarget: element }) => {
          following.current =
            element.scrollHeight - element.scrollTop - element.clientHeight < AT_END_PX;
        }}
        className="scroll-thin max-h-[60vh] min-h-28 overflow-auto bg-sunken py-2 font-mono text-sm focus-visible:-outline-offset-2"
      >
        {log.lines.length === 0 ? (
          <p className="px-4 py-1 font-sans text-ink-3">{placeholder}</p>
        ) : (
          <div className="relative w-max min-w-full" style={{ height: virtualizer.getTotalSize() }}>
            {virtualizer.getVirtualItems().map(({ index, start }) => {
              const line = log.lines[index];
              return (
                <div
                  key={log.dropped + index}
                  className={cn(
                    "absolute left-0 min-w-full whitespace-pre border-l-2 px-3.5",
                    line?.stream === "stderr" ? "border-crit/60" : "border-transparent",
                  )}
                  style={{ height: ROW_PX, lineHeight: `${ROW_PX}px`, top: start }}
                >
                  {line?.segments.map((segment, position) => (
                    <span
                      // biome-ignore lint/suspicious/noArrayIndexKey: the runs of a line have no identity
                      key={position}
                      className={cn(
                        segment.color && COLORS[segment.color],
                        segment.bold && "font-medium",
                        segment.dim && "text-ink-3",
                      )}
                    >
                      {segment.text}
                    </span>
                  ))}
                </div>
              );
            })}
          </div>
        )}
      </div>
    </div>
  );
}
