import { formatPercent } from "../lib/format";
import { cn } from "./cn";

const WARN_PERCENT = 85;
const CRIT_PERCENT = 95;

function levelTone(percent: number): "none" | "warn" | "crit" {
  return percent >= CRIT_PERCENT ? "crit" : percent >= WARN_PERCENT ? "warn" : "none";
}

const BAR = { none: "bg-control", warn: "bg-warn", crit: "bg-crit" };
const TEXT = { none: "", warn: "text-warn font-medium", crit: "text-crit font-medium" };

/**
 * A share of a whole, as bar and figure. Colour appears only where the level is one to act on; a stale one, of a
 * machine that is not there, stays quiet.
 */
export function Level({
  percent,
  stale = false,
  className,
}: {
  percent: number | null;
  stale?: boolean;
  className?: string;
}) {
  const tone = percent === null || stale ? "none" : levelTone(percent);
  return (
    <span className={cn("inline-flex items-center gap-2", stale && "text-ink-3", className)}>
      <span aria-hidden className="h-1 w-8 overflow-hidden rounded-full bg-line">
        {percent !== null && (
          <span
            className={cn("block h-full rounded-full", stale ? "bg-line-strong" : BAR[tone])}
            style={{ width: `${Math.min(100, Math.max(0, percent))}%` }}
          />
        )}
      </span>
      <span className={cn("w-9 text-right", percent === null ? "text-ink-3" : TEXT[tone])}>
        {formatPercent(percent, 0)}
      </span>
    </span>
  );
}
