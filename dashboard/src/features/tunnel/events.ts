import type { Channel } from "./channel";
import { failure } from "./failure";
import type { Tunnel } from "./session";
import { eventsMessage, jsonOf, type Level, type LogEntry, type OpenChannel } from "./wire";

/** As many are kept in the page; those before them go. */
export const MAX_KEPT = 5_000;

export interface EventQuery {
  log?: string;
  level?: Level;
  /** So long ago, in milliseconds; absent: as far back as the limit reaches. */
  sinceMs?: number;
  text?: string;
  limit: number;
  follow: boolean;
}

export interface EventsState {
  phase: "reading" | "following" | "done" | "lost" | "failed";
  entries: readonly LogEntry[];
  /** Entries that are no longer in the page. */
  dropped: number;
  /** The machine has more than the limit lets it send. */
  hasMore: boolean;
  error: unknown;
}

const PUBLISH_MS = 100;

/** One reading of a machine's log, and what comes after it. */
export class EventReader {
  private state: EventsState = {
    phase: "reading",
    entries: [],
    dropped: 0,
    hasMore: false,
    error: null,
  };
  private entries: LogEntry[] = [];
  private channel: Channel | null = null;
  private timer: ReturnType<typeof setTimeout> | null = null;
  private isStopped = false;
  private readonly listeners = new Set<() => void>();
  private readonly stopWatching: () => void;

  constructor(
    private readonly tunnel: Tunnel,
    private readonly query: EventQuery,
  ) {
    this.stopWatching = tunnel.onState(() => this.open());
    this.open();
  }

  readonly getState = () => this.state;
  readonly onState = (listener: () => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  stop() {
    this.isStopped = true;
    this.stopWatching();
    if (this.timer !== null) clearTimeout(this.timer);
    this.channel?.end();
  }

  /** At first, and again from the last entry when the link was lost while it followed. */
  private open() {
    const isWanted = this.state.phase === "reading" || this.state.phase === "lost";
    if (!isWanted || this.channel || this.isStopped) return;
    if (this.tunnel.getState().phase !== "ready") return;
    const last = this.entries.at(-1)?.time_ms;
    const { log, level, sinceMs, text, limit, follow } = this.query;
    const since = last !== undefined ? last + 1 : sinceMs && Date.now() - sinceMs;
    const asked: OpenChannel = {
      kind: "events",
      ...(log && { log }),
      ...(level && { level }),
      ...(since !== undefined && { since_ms: since }),
      ...(text && { text }),
      limit,
      follow,
    };
    const channel = this.tunnel.open(asked, {
      onMessage: (body, dealt) => {
        const message = jsonOf(eventsMessage, body);
        if (message?.is === "events") this.take(message.events);
        else if (message?.is === "caught") {
          this.set({ phase: follow ? "following" : "done", hasMore: message.more });
        }
        dealt();
      },
      onEnd: ({ error }, isLinkLost) => {
        if (this.channel !== channel || this.isStopped) return;
        this.channel = null;
        if (isLinkLost && this.state.phase !== "done") this.set({ phase: "lost" });
        else if (error) this.set({ phase: "failed", error: failure(error) });
        else this.set({ phase: "done" });
      },
    });
    this.channel = channel;
    // Nothing was read when the link was lost: it is read now.
    if (this.state.phase === "lost") this.set({ phase: "reading" });
  }

  private take(events: readonly LogEntry[]) {
    for (const event of events) this.entries.push(event);
    this.timer ??= setTimeout(() => this.set({}), PUBLISH_MS);
  }

  private set(change: Partial<EventsState>) {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    const over = Math.max(0, this.entries.length - MAX_KEPT);
    if (over > 0) this.entries = this.entries.slice(over);
    const entries = [...this.entries];
    const dropped = this.state.dropped + over;
    this.state = { ...this.state, ...change, entries, dropped };
    for (const notify of this.listeners) notify();
  }
}
