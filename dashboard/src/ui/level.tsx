import { formatPercent } from "../lib/format";
import { cn } from "./cn";

const WARN_PERCENT = 85;
const CRIT_PERCENT = 95;

function levelTone(percent: number): "none" | "warn" | "crit" {
  return percent >= CRIT_PERCENT ? "crit" : percent >= WARN_PERCENT ? "warn" : "none";
}

const BAR = { none: "bg-control", warn: "bg-warn", crit: "bg-crit" };
const TEXT = { none: "", warn: "text-warn font-medium", crit: "text-crit font-medium" };

/** A share of a whole, as figure and bar. Colour appears only where the level is one to act on. */
export function Level({ percent, className }: { percent: number | null; className?: string }) {
  if (percent === null) return <span className="text-ink-3">–</span>;
  const tone = levelTone(percent);
  return (
    <span className={cn("inline-flex items-center gap-2", className)}>
      <span className={cn("w-9 text-right", TEXT[tone])}>{formatPercent(percent, 0)}</span>
      <span aria-hidden className="h-1 w-8 overflow-hidden rounded-full bg-line">
        <span
          className={cn("block h-full rounded-full", BAR[tone])}
          style={{ width: `${Math.min(100, Math.max(0, percent))}%` }}
        />
      </span>
    </span>
  );
}
