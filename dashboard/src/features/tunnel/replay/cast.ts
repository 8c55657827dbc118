// asciicast v2, as docs.asciinema.org/manual/asciicast/v2 describes it.
import { z } from "zod";

export interface Cast {
  columns: number;
  rows: number;
  events: CastEvent[];
  /** The recording is longer than what a page takes. */
  isCut: boolean;
}

/** Milliseconds since the recording of the session began. */
export type CastEvent =
  | { atMs: number; kind: "output" | "input" | "marker"; text: string }
  | { atMs: number; kind: "resize"; columns: number; rows: number };

/** The most characters of a recording that a page takes. */
export const MAX_CAST_CHARS = 64 * 1024 * 1024;

const size = z.number().int().min(1).max(1000);
const header = z.object({ version: z.literal(2), width: size, height: size });
const line = z.tuple([z.number().nonnegative(), z.string(), z.string()]);
const KINDS: Record<string, "output" | "input" | "marker"> = {
  o: "output",
  i: "input",
  m: "marker",
};

/** Takes a recording line by line. */
export class CastReader {
  private cast: Cast | null = null;
  private rest = "";
  private taken = 0;

  /** More of the text; false when no more is taken. */
  push(text: string): boolean {
    this.taken += text.length;
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop() ?? "";
    for (const one of lines) this.line(one);
    if (this.taken <= MAX_CAST_CHARS) return true;
    this.rest = "";
    if (this.cast) this.cast.isCut = true;
    return false;
  }

  /** What was read, or null when it was no recording. */
  finish(): Cast | null {
    this.line(this.rest);
    this.rest = "";
    return this.cast;
  }

  private line(text: string) {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      // A line that was cut, or an empty one.
      return;
    }
    if (!this.cast) {
      const head = header.safeParse(value).data;
      if (head) this.cast = { columns: head.width, rows: head.height, events: [], isCut: false };
      return;
    }
    const event = line.safeParse(value).data;
    if (!event) return;
    const [seconds, code, data] = event;
    const atMs = seconds * 1000;
    const kind = KINDS[code];
    if (kind) this.cast.events.push({ atMs, kind, text: data });
    else if (code === "r") {
      const [columns, rows] = data.split("x").map(Number);
      if (size.safeParse(columns).success && size.safeParse(rows).success) {
        this.cast.events.push({ atMs, kind: "resize", columns: columns ?? 1, rows: rows ?? 1 });
      }
    }
  }
}
