import type { Cast } from "./cast";

/** What a recording is played on. */
export interface Screen {
  reset: () => void;
  resize: (columns: number, rows: number) => void;
  write: (text: string) => void;
}

export interface PlayerState {
  atMs: number;
  isPlaying: boolean;
  speed: number;
  skipsIdle: boolean;
}

/** Longer without anything to see is idle. */
export const IDLE_MS = 2_000;

/** Plays a recording: moved on by whoever draws, so that it needs no clock. */
export class Player {
  private next = 0;
  private state: PlayerState;
  private readonly listeners = new Set<() => void>();
  readonly beginMs: number;
  readonly endMs: number;

  constructor(
    private readonly cast: Cast,
    private readonly screen: Screen,
  ) {
    this.beginMs = cast.events[0]?.atMs ?? 0;
    this.endMs = cast.events.at(-1)?.atMs ?? 0;
    this.state = { atMs: this.beginMs, isPlaying: false, speed: 1, skipsIdle: true };
    this.rewind();
  }

  readonly getState = () => this.state;
  readonly onState = (listener: () => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  play(isPlaying: boolean) {
    // At the end there is nothing more; it begins again.
    if (isPlaying && this.state.atMs >= this.endMs) this.seek(this.beginMs);
    this.set({ isPlaying });
  }

  setSpeed(speed: number) {
    this.set({ speed });
  }

  setSkipsIdle(skipsIdle: boolean) {
    this.set({ skipsIdle });
  }

  /** Shows the screen as it was then. */
  seek(atMs: number) {
    const to = Math.min(this.endMs, Math.max(this.beginMs, atMs));
    if (to < this.state.atMs) this.rewind();
    this.show(to);
    this.set({ atMs: to });
  }

  /** So much time has gone by for whoever looks. */
  advance(elapsedMs: number) {
    if (!this.state.isPlaying) return;
    let to = this.state.atMs + elapsedMs * this.state.speed;
    const next = this.cast.events[this.next];
    if (this.state.skipsIdle && next && next.atMs - this.state.atMs > IDLE_MS) {
      to = Math.max(to, next.atMs - IDLE_MS / 4);
    }
    to = Math.min(to, this.endMs);
    this.show(to);
    this.set({ atMs: to, isPlaying: to < this.endMs });
  }

  private rewind() {
    this.next = 0;
    this.screen.reset();
    this.screen.resize(this.cast.columns, this.cast.rows);
  }

  private show(untilMs: number) {
    // What came together is written together: a jump through hours is one write.
    let text = "";
    for (let event = this.cast.events[this.next]; event && event.atMs <= untilMs; ) {
      if (event.kind === "output") text += event.text;
      else if (event.kind === "resize") {
        if (text) this.screen.write(text);
        text = "";
        this.screen.resize(event.columns, event.rows);
      }
      this.next += 1;
      event = this.cast.events[this.next];
    }
    if (text) this.screen.write(text);
  }

  private set(change: Partial<PlayerState>) {
    this.state = { ...this.state, ...change };
    for (const notify of this.listeners) notify();
  }
}
