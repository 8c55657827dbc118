import type { MetricPoint, MetricSeries, Sample } from "../../api/types";

const METRICS = [
  "cpu_percent",
  "memory_percent",
  "disk_percent",
  "load_1",
  "rx_bytes_per_second",
  "tx_bytes_per_second",
] as const satisfies readonly (keyof MetricPoint)[];

export type MetricName = (typeof METRICS)[number];

type Columns = Record<MetricName, (number | null)[]>;

export interface AlignedSeries {
  /** Seconds since 1970. */
  times: number[];
  /** Averages. */
  values: Columns;
  /** The least and the most that a sample had. */
  least: Columns;
  most: Columns;
}

function columns(): Columns {
  return Object.fromEntries(METRICS.map((name) => [name, [] as (number | null)[]])) as Columns;
}

/**
 * Turns the server's points into columns. Buckets without a sample are absent from the answer: where some are
 * missing, a row of nulls is put in, so that the line breaks there instead of bridging the gap. A machine that
 * measures less often than the buckets are wide has no gap between its samples: its own rhythm counts.
 */
export function alignSeries(series: MetricSeries): AlignedSeries {
  const times: number[] = [];
  const [values, least, most] = [columns(), columns(), columns()];
  const at = series.points.map((point) => new Date(point.t).getTime() / 1000);
  const step = Math.max(series.resolution_seconds, medianStep(at));
  series.points.forEach((point, index) => {
    const time = at[index] ?? 0;
    const former = at[index - 1];
    if (former !== undefined && time - former > step * 1.75) {
      times.push(former + step / 2);
      for (const column of [values, least, most]) {
        for (const name of METRICS) column[name].push(null);
      }
    }
    times.push(time);
    for (const name of METRICS) {
      const range = point[`${name}_range`];
      values[name].push(point[name]);
      least[name].push(range?.min ?? point[name]);
      most[name].push(range?.max ?? point[name]);
    }
  });
  return { times, values, least, most };
}

/** Seconds; a chart younger than this would be drawn by single samples. */
const LEAST_SPAN = 300;

/**
 * Where the chart of a span begins, in seconds since 1970. A machine that enrolled within the span has no past
 * before its first sample: the chart begins there, instead of pressing what there is against its right edge.
 */
export function chartStart(
  span: { from: number; to: number },
  times: readonly number[],
  enrolledAt: number | null,
): number {
  const first = times[0];
  if (first === undefined || enrolledAt === null || enrolledAt <= span.from) return span.from;
  return Math.max(span.from, Math.min(first, span.to - LEAST_SPAN));
}

function medianStep(times: readonly number[]): number {
  const steps = times.slice(1).map((time, index) => time - (times[index] ?? time));
  steps.sort((a, b) => a - b);
  return steps[Math.floor(steps.length / 2)] ?? 0;
}

export function memoryPercent(sample: Sample): number {
  return share(sample.memory_used_bytes, sample.memory_total_bytes);
}

export function share(used: number, total: number): number {
  return total > 0 ? (used / total) * 100 : 0;
}

export function fullestDisk(sample: Sample): Sample["disks"][number] | null {
  return sample.disks.reduce<Sample["disks"][number] | null>(
    (fullest, disk) =>
      !fullest ||
      share(disk.used_bytes, disk.total_bytes) > share(fullest.used_bytes, fullest.total_bytes)
        ? disk
        : fullest,
    null,
  );
}

/** Samples carry what passed since the one before them. */
export function networkRate(sample: Sample): { rx: number; tx: number } {
  const seconds = Math.max(1, sample.interval_seconds);
  return { rx: sample.rx_bytes / seconds, tx: sample.tx_bytes / seconds };
}

export const LIVE_SAMPLES = 90;

/** Appends in order of time; a sample that is there already, or older, changes nothing. */
export function appendSample(samples: readonly Sample[], sample: Sample): readonly Sample[] {
  const last = samples.at(-1);
  if (last && new Date(sample.t).getTime() <= new Date(last.t).getTime()) return samples;
  return [...samples.slice(-(LIVE_SAMPLES - 1)), sample];
}
