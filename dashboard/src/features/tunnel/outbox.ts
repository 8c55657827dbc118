import { dataCost, PIECE_BYTES } from "./wire";

/** The most that is kept of what was typed and has not yet arrived. */
export const MAX_KEPT_BYTES = 1024 * 1024;

/**
 * What is typed on its way to the machine: kept until the machine has it, so that a lost link loses no key. Which of it
 * has arrived is known when a channel is attached again, and before that from the credit that comes back: it is granted
 * for what was dealt with, in the order in which it was sent.
 */
export class Outbox {
  /** Where the first kept byte stands, up to where was sent, and where the next one will stand. */
  private confirmed = 0;
  private sent = 0;
  private end = 0;
  private kept: Uint8Array[] = [];
  /** Of each frame that was sent and not confirmed: what it cost, and where it ended. */
  private frames: { cost: number; end: number }[] = [];
  private granted = 0;

  /** False when so much is kept already that this does not fit. */
  push(bytes: Uint8Array): boolean {
    if (this.end - this.confirmed + bytes.length > MAX_KEPT_BYTES) return false;
    if (bytes.length > 0) this.kept.push(bytes);
    this.end += bytes.length;
    return true;
  }

  /** The next piece that fits into the credit. */
  next(credit: number): { offset: number; bytes: Uint8Array } | null {
    const most = Math.min(PIECE_BYTES, this.end - this.sent, credit - dataCost(0));
    if (most <= 0) return null;
    const bytes = this.read(this.sent, most);
    const offset = this.sent;
    this.sent += bytes.length;
    this.frames.push({ cost: dataCost(bytes.length), end: this.sent });
    return { offset, bytes };
  }

  /** A message went out between the pieces. */
  message(cost: number) {
    this.frames.push({ cost, end: this.sent });
  }

  /** So much was granted anew. */
  grant(bytes: number) {
    this.granted += bytes;
    for (let frame = this.frames[0]; frame && frame.cost <= this.granted; frame = this.frames[0]) {
      this.granted -= frame.cost;
      this.frames.shift();
      this.drop(frame.end);
    }
  }

  /** The machine has so much of the stream; what was sent beyond is sent again. */
  resume(received: number) {
    this.frames = [];
    this.granted = 0;
    this.drop(Math.min(Math.max(received, this.confirmed), this.end));
    this.sent = this.confirmed;
  }

  /** On a page that was loaded again: the stream goes on from where the machine has it. */
  begin(received: number) {
    this.confirmed += received;
    this.sent += received;
    this.end += received;
  }

  get isEmpty(): boolean {
    return this.end === this.confirmed;
  }

  private drop(upTo: number) {
    let left = upTo - this.confirmed;
    this.confirmed = Math.max(this.confirmed, upTo);
    while (left > 0) {
      const first = this.kept[0];
      if (!first) return;
      if (first.length > left) {
        this.kept[0] = first.subarray(left);
        return;
      }
      left -= first.length;
      this.kept.shift();
    }
  }

  private read(from: number, most: number): Uint8Array {
    const bytes = new Uint8Array(most);
    let at = this.confirmed;
    let written = 0;
    for (const piece of this.kept) {
      const skip = Math.max(0, from - at);
      at += piece.length;
      if (skip >= piece.length) continue;
      const part = piece.subarray(skip, skip + most - written);
      bytes.set(part, written);
      written += part.length;
      if (written === most) break;
    }
    return bytes;
  }
}
