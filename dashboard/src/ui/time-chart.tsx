import "uplot/dist/uPlot.min.css";
import { useEffect, useRef, useState } from "react";
import uPlot from "uplot";
import { formatDateTime } from "../lib/format";
import { watchColors } from "../lib/theme";

export interface ChartSeries {
  label: string;
  /** A CSS custom property that holds the line's colour. */
  color: string;
  values: readonly (number | null)[];
  /** From here to there a band is drawn around the line. */
  least?: readonly (number | null)[];
  most?: readonly (number | null)[];
}

/**
 * Lines over time, each in a band from its least to its most. A null is a gap and drawn as one. Dragging selects a span, a click picks a moment; with the
 * keyboard the arrows move the cursor and Enter picks.
 */
export function TimeChart({
  label,
  times,
  series,
  from,
  to,
  max,
  format,
  height = 180,
  syncKey,
  onSelect,
  onPick,
}: {
  label: string;
  /** Seconds since 1970, ascending. */
  times: readonly number[];
  series: readonly ChartSeries[];
  from: number;
  to: number;
  /** Top of the scale; fits the values when left out. */
  max?: number;
  format: (value: number | null) => string;
  height?: number;
  syncKey?: string;
  onSelect?: (from: number, to: number) => void;
  onPick?: (time: number) => void;
}) {
  const host = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const [cursor, setCursor] = useState<number | null>(null);
  const latest = useRef({ onSelect, onPick, format, from, to });
  const data = useRef<uPlot.AlignedData>([[]]);
  useEffect(() => {
    latest.current = { onSelect, onPick, format, from, to };
  });

  const shape = series.map((line) => `${line.label}\u0000${line.color}`).join("\u0001");
  // biome-ignore lint/correctness/useExhaustiveDependencies: `shape` stands for the series; new values go through setData
  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const build = () => {
      chart.current?.destroy();
      const ink = resolveColor(element, "--ink-3");
      const grid = resolveColor(element, "--line");
      const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { show: false } };
      const font = `11.5px ${getComputedStyle(element).fontFamily}`;
      chart.current = new uPlot(
        {
          width: Math.max(100, element.clientWidth),
          height,
          padding: [8, 26, 0, 0],
          legend: { show: false },
          scales: {
            x: { range: () => [latest.current.from, latest.current.to] },
            y: { range: (_u, _min, top) => [0, max ?? niceTop(top)] },
          },
          axes: [
            { ...axis, font, size: 24, space: 70, values: timeLabels },
            {
              ...axis,
              font,
              size: 66,
              space: 34,
              // A scale that fits the values ends at a round number of its own unit, and so does its half.
              ...(max === undefined && {
                splits: (_u: uPlot, _axis: number, _bottom: number, top: number) => [
                  0,
                  top / 2,
                  top,
                ],
              }),
              values: (_u, splits) => splits.map((value) => latest.current.format(value)),
            },
          ],
          cursor: {
            y: false,
            drag: { x: true, y: false, setScale: false },
            points: { size: 6 },
            ...(syncKey ? { sync: { key: syncKey } } : {}),
          },
          // Behind the lines stand the ends of their bands, which are not drawn themselves.
          bands: series.flatMap((line, index) => {
            const most = 1 + series.length + 2 * index;
            const fill = resolveColor(element, line.color).replace(
              /^rgb\((.+)\)$/,
              "rgba($1, 0.2)",
            );
            return line.most ? [{ series: [most, most + 1] as [number, number], fill }] : [];
          }),
          series: [
            {},
            ...series.map((line) => {
              const color = resolveColor(element, line.color);
              const points = { show: true, size: 4, fill: color, filter: isolated };
              return { label: line.label, stroke: color, width: 1.5, points };
            }),
            ...series.flatMap(() => [END_OF_BAND, END_OF_BAND]),
          ],
          hooks: {
            setCursor: [(u) => setCursor(u.cursor.idx ?? null)],
            setSelect: [
              (u) => {
                if (u.select.width < 8) return;
                const start = u.posToVal(u.select.left, "x");
                const end = u.posToVal(u.select.left + u.select.width, "x");
                u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
                latest.current.onSelect?.(start, end);
              },
            ],
            ready: [
              (u) => {
                u.over.addEventListener("click", () => {
                  const left = u.cursor.left ?? -1;
                  if (left >= 0 && u.select.width < 8)
                    latest.current.onPick?.(u.posToVal(left, "x"));
                });
              },
            ],
          },
        },
        data.current,
        element,
      );
    };
    build();
    const resize = new ResizeObserver(() =>
      chart.current?.setSize({ width: Math.max(100, element.clientWidth), height }),
    );
    resize.observe(element);
    const stopWatching = watchColors(build);
    return () => {
      resize.disconnect();
      stopWatching();
      chart.current?.destroy();
      chart.current = null;
    };
  }, [shape, height, max, syncKey]);

  useEffect(() => {
    data.current = [
      times as number[],
      ...series.map((line) => line.values as (number | null)[]),
      ...series.flatMap((line) => [
        (line.most ?? line.values) as (number | null)[],
        (line.least ?? line.values) as (number | null)[],
      ]),
    ];
    latest.current.from = from;
    latest.current.to = to;
    chart.current?.setData(data.current);
  }, [times, series, from, to]);

  const moveTo = (index: number) => {
    const plot = chart.current;
    const time = times[index];
    if (plot && time !== undefined) {
      plot.setCursor({ left: plot.valToPos(time, "x"), top: 10 });
    }
  };
  const at = cursor === null ? undefined : times[cursor];
  return (
    <figure className="min-w-0">
      <figcaption className="flex min-h-5 flex-wrap items-center gap-x-4 gap-y-1 pb-1 text-sm">
        <span className="font-medium">{label}</span>
        {series.map((line) => (
          <span key={line.label} className="flex items-center gap-1.5 text-ink-2">
            <span
              aria-hidden
              className="h-0.5 w-3 rounded-full"
              style={{ background: `var(${line.color})` }}
            />
            {line.label}
            {cursor !== null && (
              <span className="text-ink">
                {format(line.values[cursor] ?? null)}
                {rangeAt(line, cursor, format)}
              </span>
            )}
          </span>
        ))}
        {at !== undefined && (
          <span className="ml-auto text-ink-3">{formatDateTime(at * 1000)}</span>
        )}
      </figcaption>
      {/* biome-ignore lint/a11y/useSemanticElements: no element stands for a chart that the arrow keys walk through */}
      <div
        ref={host}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: the keyboard reaches the chart's moments through it
        tabIndex={0}
        role="group"
        aria-label={`${label}: ${summary(series, format)} Arrow keys move through time, Enter opens the processes at that moment.`}
        className="min-w-0 rounded-sm"
        onKeyDown={(event) => {
          const step = event.shiftKey ? 10 : 1;
          const current = cursor ?? times.length - 1;
          if (event.key === "ArrowLeft") moveTo(Math.max(0, current - step));
          else if (event.key === "ArrowRight") moveTo(Math.min(times.length - 1, current + step));
          else if (event.key === "Home") moveTo(0);
          else if (event.key === "End") moveTo(times.length - 1);
          else if (event.key === "Enter" && at !== undefined) onPick?.(at);
          else return;
          event.preventDefault();
        }}
      />
    </figure>
  );
}

const END_OF_BAND: uPlot.Series = { stroke: "transparent", width: 0, points: { show: false } };

/** ` (3 % to 41 %)`, where the least and the most read differently. */
function rangeAt(
  { least, most }: ChartSeries,
  index: number,
  format: (value: number | null) => string,
): string {
  const [low, high] = [least?.[index] ?? null, most?.[index] ?? null];
  if (low === null || high === null || format(low) === format(high)) return "";
  return ` (${format(low)} to ${format(high)})`;
}

/** A value with a gap on either side makes no line; it is drawn as a dot. */
function isolated(u: uPlot, seriesIndex: number): number[] {
  const values = u.data[seriesIndex] ?? [];
  const found: number[] = [];
  for (let i = 0; i < values.length; i++) {
    if (values[i] != null && values[i - 1] == null && values[i + 1] == null) found.push(i);
  }
  return found;
}

/** The chart in words, for those who do not see it. */
function summary(series: readonly ChartSeries[], format: (value: number | null) => string): string {
  return series
    .map(({ label, values, most }) => {
      const known = values.filter((value): value is number => value !== null);
      if (known.length === 0) return `${label} no data.`;
      const mean = known.reduce((sum, value) => sum + value, 0) / known.length;
      const top = (most ?? values).reduce<number>((top, value) => Math.max(top, value ?? 0), 0);
      return `${label} on average ${format(mean)}, at most ${format(top)}.`;
    })
    .join(" ");
}

/** A custom property may hold `light-dark()`, which only a real property resolves. */
function resolveColor(element: HTMLElement, name: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  element.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  return color;
}

function niceTop(top: number | null): number {
  if (!top || top <= 0) return 1024;
  const unit = 2 ** Math.floor(Math.log2(top));
  return [1, 1.5, 2].map((factor) => factor * unit).find((value) => value >= top) ?? top;
}

const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  hourCycle: "h23",
});
const clockSeconds = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

function timeLabels(_u: uPlot, splits: number[]): string[] {
  const step = splits.length > 1 ? (splits[1] ?? 0) - (splits[0] ?? 0) : 0;
  return splits.map((split) => {
    const time = new Date(split * 1000);
    const midnight = time.getHours() === 0 && time.getMinutes() === 0;
    if (step > 0 && step < 60) return clockSeconds.format(time);
    return step >= 86_400 || midnight ? day.format(time) : clock.format(time);
  });
}
