import { describe, expect, it } from "vitest";
import type { MetricPoint, Sample } from "../../api/types";
import { alignSeries, appendSample, chartStart, LIVE_SAMPLES, networkRate } from "./series";

const point = (seconds: number): MetricPoint => ({
  t: new Date(seconds * 1000).toISOString(),
  cpu_percent: seconds,
  memory_percent: 1,
  disk_percent: null,
  load_1: 1,
  rx_bytes_per_second: 1,
  tx_bytes_per_second: 1,
  samples: 1,
  cpu_percent_range: { min: seconds - 1, max: seconds + 1 },
  memory_percent_range: null,
  disk_percent_range: null,
  load_1_range: null,
  rx_bytes_per_second_range: null,
  tx_bytes_per_second_range: null,
});
const series = (...seconds: number[]) => ({
  from: "",
  to: "",
  resolution_seconds: 60,
  source: "samples" as const,
  points: seconds.map(point),
});

describe("alignSeries", () => {
  it("breaks the line where buckets are missing", () => {
    const { times, values } = alignSeries(series(0, 60, 120, 300, 360));
    expect(times).toEqual([0, 60, 120, 150, 300, 360]);
    expect(values.cpu_percent).toEqual([0, 60, 120, null, 300, 360]);
  });

  it("sees no gap where a machine measures less often than the buckets are wide", () => {
    const rare = { ...series(0, 60, 130, 190, 500, 560), resolution_seconds: 10 };
    expect(alignSeries(rare).values.cpu_percent).toEqual([0, 60, 130, 190, null, 500, 560]);
  });

  it("does not take a little jitter for a gap", () => {
    expect(alignSeries(series(0, 61, 119, 190)).times).toHaveLength(4);
  });

  it("carries the least and the most beside the average, and breaks them at the same places", () => {
    const { times, values, least, most } = alignSeries(series(0, 60, 120, 300));
    expect(times).toEqual([0, 60, 120, 150, 300]);
    expect(least.cpu_percent).toEqual([-1, 59, 119, null, 299]);
    expect(most.cpu_percent).toEqual([1, 61, 121, null, 301]);
    expect(most.memory_percent).toEqual(values.memory_percent);
  });

  it("is empty for an empty answer", () => {
    expect(alignSeries(series()).times).toEqual([]);
  });
});

describe("chartStart", () => {
  const hour = { from: 0, to: 3600 };

  it("begins at the first sample of a machine that enrolled within the span", () => {
    expect(chartStart(hour, [2400, 2460], 2390)).toBe(2400);
  });

  it("keeps some minutes of width while there are only a few samples", () => {
    expect(chartStart(hour, [3590], 3585)).toBe(3300);
  });

  it("shows the whole span of a machine that was off, which is worth seeing", () => {
    expect(chartStart(hour, [2400, 2460], -86_400)).toBe(0);
    expect(chartStart(hour, [2400, 2460], null)).toBe(0);
  });

  it("never begins before the span", () => {
    expect(chartStart({ from: 3500, to: 3600 }, [3550], 3540)).toBe(3500);
  });
});

const sampleAt = (seconds: number) =>
  ({ t: new Date(seconds * 1000).toISOString() }) as unknown as Sample;

describe("appendSample", () => {
  it("keeps order, drops repeats, stays bounded", () => {
    let samples: readonly Sample[] = [];
    for (let n = 0; n < LIVE_SAMPLES + 20; n++) samples = appendSample(samples, sampleAt(n));
    expect(samples).toHaveLength(LIVE_SAMPLES);
    expect(appendSample(samples, sampleAt(5))).toBe(samples);
  });
});

describe("networkRate", () => {
  it("divides what passed by the time it took", () => {
    const sample = { rx_bytes: 3000, tx_bytes: 300, interval_seconds: 30 } as Sample;
    expect(networkRate(sample)).toEqual({ rx: 100, tx: 10 });
  });
});
