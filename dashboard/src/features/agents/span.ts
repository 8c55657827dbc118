import type { MetricSeries } from "../../api/types";
import { formatDuration } from "../../lib/format";

/** Shorter ones show single samples. */
export const MIN_SPAN_SECONDS = 60;

/** A time as an input of kind `datetime-local` holds it: this place's time, to the minute. */
export function toInput(time: Date): string {
  const local = new Date(time.getTime() - time.getTimezoneOffset() * 60_000);
  return Number.isNaN(local.getTime()) ? "" : local.toISOString().slice(0, 16);
}

/** What was typed, as the address keeps it; null while it is no time. */
export function fromInput(text: string): string | null {
  const time = new Date(text);
  return text === "" || Number.isNaN(time.getTime()) ? null : time.toISOString();
}

export interface SpanErrors {
  from?: string;
  to?: string;
}

/** What is wrong with a span that was typed. */
export function spanErrors(from: string, to: string): SpanErrors {
  const [start, end] = [fromInput(from), fromInput(to)];
  if (!start) return { from: "When does it begin?" };
  if (!end) return { to: "When does it end?" };
  const seconds = (new Date(end).getTime() - new Date(start).getTime()) / 1000;
  return seconds < MIN_SPAN_SECONDS ? { to: "The end comes after the beginning." } : {};
}

const SOURCES: Record<MetricSeries["source"], string> = {
  samples: "drawn from the samples",
  five_minutes: "drawn from averages of 5 minutes",
  hours: "drawn from averages of an hour",
  days: "drawn from averages of a day",
};

/** `One point stands for 2 h, drawn from averages of an hour.` */
export function resolutionWords({
  resolution_seconds,
  source,
}: Pick<MetricSeries, "resolution_seconds" | "source">): string {
  return `One point stands for ${formatDuration(resolution_seconds)}, ${SOURCES[source]}.`;
}
