import { useSyncExternalStore } from "react";
import { formatCount } from "../lib/format";
import type { OutputLog } from "../lib/output-log";
import { cn } from "./cn";
import { Lines } from "./lines";

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

/** Output as text and nothing but text. */
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
  return (
    <div className="min-w-0">
      {log.dropped > 0 && (
        <p className="border-b bg-sunken px-4 py-1.5 text-ink-2 text-sm">
          {formatCount(log.dropped)} earlier lines are not shown here.
        </p>
      )}
      <Lines
        role="log"
        label={label}
        placeholder={placeholder}
        count={log.lines.length}
        revision={version}
        row={(index) => {
          const line = log.lines[index];
          return {
            key: log.dropped + index,
            marked: line?.stream === "stderr",
            content: line?.segments.map((segment, position) => (
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
            )),
          };
        }}
      />
    </div>
  );
}
