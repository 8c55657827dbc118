import { ArrowDown, ArrowUp } from "lucide-react";
import type { ReactNode } from "react";
import type { Sample } from "../../api/types";
import { formatBytes, formatPercent, formatRate } from "../../lib/format";
import { cn } from "../../ui/cn";
import { Sparkline } from "../../ui/sparkline";
import { Skeleton } from "../../ui/states";
import type { DrillView } from "./drill-down";
import { fullestDisk, LIVE_SAMPLES, memoryPercent, networkRate, share } from "./series";

/** CPU, memory, disk and network right now. A click opens what was behind the figure at that moment. */
export function Gauges({
  samples,
  onDrill,
}: {
  samples: readonly Sample[];
  onDrill: (view: DrillView, sample: Sample) => void;
}) {
  const now = samples.at(-1);
  if (!now) return null;
  const disk = fullestDisk(now);
  const network = networkRate(now);
  const load = [now.load_1, now.load_5, now.load_15].filter((value) => value !== null);
  return (
    <div className="grid grid-cols-2 gap-px overflow-hidden rounded-lg border border-line bg-line lg:grid-cols-4">
      <Gauge
        label="CPU"
        figure={<Figure percent={now.cpu_percent} />}
        detail={`${now.cpu_count} cores${load.length > 0 ? `, load ${load.map((value) => value.toFixed(2)).join(" ")}` : ""}`}
        percent={now.cpu_percent}
        color="text-cpu"
        chart={
          <Sparkline values={samples.map((s) => s.cpu_percent)} max={100} slots={LIVE_SAMPLES} />
        }
        onClick={() => onDrill("cpu", now)}
      />
      <Gauge
        label="Memory"
        figure={<Figure percent={memoryPercent(now)} />}
        detail={`${formatBytes(now.memory_used_bytes)} of ${formatBytes(now.memory_total_bytes)}`}
        percent={memoryPercent(now)}
        color="text-memory"
        chart={<Sparkline values={samples.map(memoryPercent)} max={100} slots={LIVE_SAMPLES} />}
        onClick={() => onDrill("memory", now)}
      />
      <Gauge
        label="Fullest disk"
        figure={disk ? <Figure percent={share(disk.used_bytes, disk.total_bytes)} /> : "–"}
        detail={
          disk
            ? `${disk.mount}, ${formatBytes(disk.total_bytes - disk.used_bytes)} free`
            : "No disk reported"
        }
        percent={disk ? share(disk.used_bytes, disk.total_bytes) : 0}
        color="text-disk"
        chart={
          <Sparkline
            values={samples.map((s) => {
              const fullest = fullestDisk(s);
              return fullest ? share(fullest.used_bytes, fullest.total_bytes) : 0;
            })}
            max={100}
            slots={LIVE_SAMPLES}
          />
        }
        onClick={() => onDrill("disks", now)}
      />
      <Gauge
        label="Network"
        figure={
          <span className="grid text-lg leading-5.5">
            <Direction icon={<ArrowDown aria-label="received" />} rate={network.rx} />
            <Direction icon={<ArrowUp aria-label="sent" />} rate={network.tx} />
          </span>
        }
        detail={now.public_ip ? `Public address ${now.public_ip}` : "All interfaces"}
        color="text-rx"
        chart={
          <Sparkline
            values={samples.map((s) => networkRate(s).rx + networkRate(s).tx)}
            slots={LIVE_SAMPLES}
          />
        }
        onClick={() => onDrill("cpu", now)}
      />
    </div>
  );
}

function Figure({ percent }: { percent: number }) {
  return (
    <span className={cn(percent >= 95 ? "text-crit" : percent >= 85 && "text-warn")}>
      {formatPercent(percent, percent < 10 ? 1 : 0)}
    </span>
  );
}

function Direction({ icon, rate }: { icon: ReactNode; rate: number }) {
  return (
    <span className="flex items-center gap-1.5 [&_svg]:size-3.5 [&_svg]:text-ink-3">
      {icon}
      {formatRate(rate)}
    </span>
  );
}

function Gauge({
  label,
  figure,
  detail,
  percent,
  color,
  chart,
  onClick,
}: {
  label: string;
  figure: ReactNode;
  detail: string;
  percent?: number;
  color: string;
  chart: ReactNode;
  onClick: () => void;
}) {
  return (
    <button
      type="button"
      onClick={onClick}
      className="group grid min-w-0 content-between gap-2 bg-surface p-4 text-left hover:bg-hover focus-visible:z-10 focus-visible:-outline-offset-2"
    >
      <span className="flex items-baseline justify-between gap-2">
        <span className="font-medium text-ink-2 text-sm">{label}</span>
        <span className="text-ink-3 text-sm opacity-0 transition-opacity group-hover:opacity-100 group-focus-visible:opacity-100 max-sm:hidden">
          {label === "Fullest disk" ? "Disks" : "Processes"}
        </span>
      </span>
      <span className="grid h-11 content-end font-medium text-2xl tracking-[-0.02em]">
        {figure}
      </span>
      <Scale percent={percent} color={color} />
      <span className={cn("block", color)}>{chart}</span>
      <span className="truncate text-ink-2 text-sm" title={detail}>
        {detail}
      </span>
    </button>
  );
}

/** A ruler from 0 to 100 with a mark at each quarter. */
function Scale({ percent, color }: { percent?: number; color: string }) {
  if (percent === undefined) return <span aria-hidden className="h-2" />;
  return (
    <span
      aria-hidden
      className={cn("relative block h-2 overflow-hidden rounded-xs bg-sunken", color)}
    >
      <span
        className="absolute inset-y-0 left-0 bg-current transition-[width] duration-700"
        style={{ width: `${Math.min(100, percent)}%` }}
      />
      {[25, 50, 75].map((mark) => (
        <span
          key={mark}
          className="absolute inset-y-0 w-px bg-surface"
          style={{ left: `${mark}%` }}
        />
      ))}
    </span>
  );
}

export function GaugesSkeleton() {
  return (
    <div
      role="status"
      aria-label="Loading"
      className="grid grid-cols-2 gap-px overflow-hidden rounded-lg border border-line bg-line lg:grid-cols-4"
    >
      {["cpu", "memory", "disk", "network"].map((name) => (
        <div key={name} className="grid gap-3 bg-surface p-4">
          <Skeleton className="h-4 w-16" />
          <Skeleton className="h-9 w-24" />
          <Skeleton className="h-8" />
          <Skeleton className="h-4 w-32" />
        </div>
      ))}
    </div>
  );
}
