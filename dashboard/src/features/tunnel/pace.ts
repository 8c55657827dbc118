import { BULK_WINDOW_BYTES, FIRST_TRANSFER_BYTES } from "./wire";

/** What programs on the way, this page among them, take to pass a window of a download on, however short the way. */
export const OF_DOWNLOADS_MS = 0.15;
/** The same of an upload: the machine writes what came before it grants more. */
export const OF_UPLOADS_MS = 0.5;
/** It is judged when so many windows went through. */
const ROUNDS = 4;

/**
 * How far a transfer may be ahead: as far as keeps the line busy, and little further, so that what is typed meanwhile does not
 * wait behind it. A window that goes through in hardly more than a quiet way there and back leaves the line idle, and is doubled;
 * one that takes a little more may, and grows by a quarter; one that takes more than five stands in queues, and is halved.
 * `gururmm` does the same (crates/cli, `tunnel/pace.rs`) and allows for less, being quicker.
 */
export class Pace {
  private bytes = FIRST_TRANSFER_BYTES;
  private gone = 0;

  /** `handlingMs`: what a window takes where there is no way. */
  constructor(
    private since: number,
    private readonly handlingMs: number,
  ) {}

  /** Bytes that may be on their way. */
  get window(): number {
    return this.bytes;
  }

  /**
   * So many bytes went through. `quietMs` is the shortest way there and back that was seen; while none was, nothing changes.
   * Answers how many more may be on their way than before; fewer when it is negative.
   */
  through(bytes: number, nowMs: number, quietMs: number | null): number {
    this.gone += bytes;
    if (this.gone < ROUNDS * this.bytes) return 0;
    const took = ((nowMs - this.since) * this.bytes) / this.gone;
    this.gone = 0;
    this.since = nowMs;
    if (quietMs === null) return 0;
    const before = this.bytes;
    if (took <= 1.1 * quietMs + this.handlingMs)
      this.bytes = Math.min(2 * before, BULK_WINDOW_BYTES);
    else if (took <= 1.25 * quietMs + this.handlingMs)
      this.bytes = Math.min(before + Math.floor(before / 4), BULK_WINDOW_BYTES);
    else if (took > 5 * (quietMs + this.handlingMs))
      this.bytes = Math.max(Math.floor(before / 2), FIRST_TRANSFER_BYTES);
    return this.bytes - before;
  }
}
