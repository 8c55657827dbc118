import { useVirtualizer } from "@tanstack/react-virtual";
import { type Key, type ReactNode, useEffect, useRef } from "react";
import { cn } from "./cn";

const ROW_PX = 19;
const AT_END_PX = 24;
/** Of IBM Plex Mono at the size below. Only an estimate: rows that wrap are measured once they are drawn. */
const CHAR_PX = 7.5;
const PADDING_PX = 30;

/** A line without an end is broken here, so that one row never carries megabytes. */
export const MAX_ROW_CHARS = 2_000;

export interface Row {
  key: Key;
  content: ReactNode;
  /** A mark in the colour of what is wrong stands at its left edge. */
  marked?: boolean;
}

/**
 * Text of a machine, line by line: rows on the screen only, however many there are. Follows the end until someone
 * scrolls away from it; `revision` tells of new rows.
 */
export function Lines({
  count,
  row,
  length,
  revision,
  label,
  role = "region",
  placeholder,
  wrap = false,
  className,
}: {
  count: number;
  row: (index: number) => Row;
  /** Characters of a row; needed where rows wrap. */
  length?: (index: number) => number;
  revision?: unknown;
  label: string;
  role?: "region" | "log";
  placeholder: ReactNode;
  wrap?: boolean;
  className?: string;
}) {
  const host = useRef<HTMLElement>(null);
  const following = useRef(true);
  const virtualizer = useVirtualizer({
    count,
    getScrollElement: () => host.current,
    estimateSize: (index) => {
      if (!wrap || !length || !host.current) return ROW_PX;
      const columns = Math.max(10, Math.floor((host.current.clientWidth - PADDING_PX) / CHAR_PX));
      return ROW_PX * Math.max(1, Math.ceil(length(index) / columns));
    },
    overscan: 20,
    // What is drawn where there is no screen to measure yet.
    initialRect: { width: 800, height: 600 },
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: `wrap` is what makes all heights new
  useEffect(() => {
    virtualizer.measure();
  }, [wrap, virtualizer]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: `revision` is what tells of new rows
  useEffect(() => {
    if (following.current && count > 0) {
      virtualizer.scrollToIndex(count - 1, { align: "end" });
    }
  }, [revision, wrap, count, virtualizer]);
  return (
    <section
      ref={host}
      role={role}
      aria-label={label}
      aria-live={role === "log" ? "off" : undefined}
      tabIndex={0}
      onScroll={({ currentTarget: element }) => {
        following.current =
          element.scrollHeight - element.scrollTop - element.clientHeight < AT_END_PX;
      }}
      className={cn(
        "scroll-thin max-h-[60vh] min-h-28 overflow-auto bg-sunken py-2 font-mono text-sm focus-visible:-outline-offset-2",
        className,
      )}
    >
      {count === 0 ? (
        <p className="px-4 py-1 font-sans text-ink-3">{placeholder}</p>
      ) : (
        <div
          className={cn("relative min-w-full", wrap ? "w-full" : "w-max")}
          style={{ height: virtualizer.getTotalSize() }}
        >
          {virtualizer.getVirtualItems().map(({ index, start }) => {
            const { key, content, marked = false } = row(index);
            return (
              <div
                key={key}
                ref={wrap ? virtualizer.measureElement : undefined}
                data-index={index}
                // Whatever stands in a line, it stays within its row: no marks piled up over the rows around it.
                className={cn(
                  "absolute left-0 min-w-full overflow-y-clip border-l-2 px-3.5",
                  wrap ? "w-full whitespace-pre-wrap wrap-anywhere" : "whitespace-pre",
                  marked ? "border-crit/60" : "border-transparent",
                )}
                style={{
                  ...(wrap ? { minHeight: ROW_PX } : { height: ROW_PX }),
                  lineHeight: `${ROW_PX}px`,
                  top: start,
                }}
              >
                {content}
              </div>
            );
          })}
        </div>
      )}
    </section>
  );
}
