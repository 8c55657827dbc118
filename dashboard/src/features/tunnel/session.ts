import { backoffMs } from "../../lib/backoff";
import { ApiError } from "../../lib/problem";
import { Channel, type ChannelEvents, endOf } from "./channel";
import {
  type CloseReason,
  type Frame,
  jsonFrame,
  jsonOf,
  KIND,
  type LiveChannel,
  type OpenChannel,
  ping,
  type Ready,
  readFrame,
  SERVER_CHANNELS,
  SESSION_CHANNEL,
  type SessionFacts,
  serverMessage,
} from "./wire";

/** What a session needs from its surroundings, so that tests can stand in for them. */
export interface TunnelEnvironment {
  ticket: () => Promise<string>;
  open: (ticket: string) => TunnelConnection;
  setTimer: (run: () => void, delayMs: number) => number;
  clearTimer: (timer: number) => void;
  random: () => number;
  /** Milliseconds, from wherever. */
  now: () => number;
}

/** The part of a WebSocket that a session uses. */
export type TunnelConnection = Pick<WebSocket, "send" | "close" | "onmessage" | "onclose">;

export type Phase =
  | "idle"
  | "connecting"
  /** The machine is not there, or not yet. */
  | "waiting"
  | "ready"
  /** The link is gone and will be tried again. */
  | "lost"
  /** It goes on in another window. */
  | "replaced"
  | "refused"
  | "closed";

export interface TunnelState {
  phase: Phase;
  facts: SessionFacts | null;
  /** What the machine said last. */
  ready: Ready | null;
  refused: { reason: string; detail: string } | null;
  closed: CloseReason | null;
  /** What the server said when it gave no ticket. */
  error: ApiError | null;
}

export interface TunnelFigures {
  /** There and back; null while it is not known. */
  latencyMs: number | null;
  receivedBytes: number;
  sentBytes: number;
}

const CLOSED = 4000;
const REPLACED = 4001;
const PING_MS = 2_000;
/** Without any echo for so long the link is taken for dead, */
const DEAD_MS = 20_000;
/** if as many pings in a row got none: a browser lets a page that nobody looks at ping once a minute. */
const DEAD_PINGS = 2;
/** Of so many echoes the middle one counts: one that waited behind a transfer says nothing of the way. */
const ECHOES = 5;

const IDLE: TunnelState = {
  phase: "idle",
  facts: null,
  ready: null,
  refused: null,
  closed: null,
  error: null,
};

/** The page's end of one session: its socket, a way back when that breaks, and the channels. */
export class Tunnel {
  private state = IDLE;
  private figures: TunnelFigures = { latencyMs: null, receivedBytes: 0, sentBytes: 0 };
  private received = 0;
  private sent = 0;
  private echoes: number[] = [];
  private lastEcho = 0;
  private quickestMs: number | null = null;
  /** Pings since then. */
  private unanswered = 0;
  private connection: TunnelConnection | null = null;
  private retry: number | null = null;
  private beat: number | null = null;
  private attempt = 0;
  private generation = 0;
  private nextId = 1;
  private readonly channels = new Map<number, Channel>();
  private readonly found = new Map<number, LiveChannel>();
  private readonly listeners = new Set<() => void>();
  private readonly figureListeners = new Set<() => void>();

  constructor(private readonly env: TunnelEnvironment) {}

  readonly getState = (): TunnelState => this.state;
  readonly onState = listener(this.listeners);
  readonly getFigures = (): TunnelFigures => this.figures;
  readonly onFigures = listener(this.figureListeners);

  start() {
    if (this.state.phase === "idle") this.connect();
  }

  /** Leaves the session as it is. */
  stop() {
    this.generation += 1;
    this.drop();
    this.set(IDLE);
  }

  /** Does not wait for the back-off; also takes the session back from another window. */
  retryNow() {
    if (this.state.phase !== "lost" && this.state.phase !== "replaced") return;
    this.attempt = 0;
    this.connect();
  }

  /** The number of a channel that will be opened. Only a session that is ready knows which ones are free. */
  reserve(): number {
    return this.nextId++;
  }

  /** Opens a channel. Before the session is ready, it is opened as soon as it is. */
  open(
    asked: OpenChannel,
    events: ChannelEvents,
    { lasting = false, id = this.reserve() } = {},
  ): Channel {
    const channel = this.make(id, asked, events, lasting);
    if (this.state.phase === "ready") channel.begin(false);
    return channel;
  }

  /** Terminals that the machine had before this page knew of them. */
  get foundTerminals(): LiveChannel[] {
    return [...this.found.values()];
  }

  /** Goes on with a terminal that was found. */
  adopt(id: number, events: ChannelEvents): Channel {
    this.found.delete(id);
    const channel = this.make(id, null, events, true);
    if (this.state.phase === "ready") channel.begin(true);
    return channel;
  }

  private make(id: number, asked: OpenChannel | null, events: ChannelEvents, isLasting: boolean) {
    const channel: Channel = new Channel(
      id,
      asked,
      events,
      isLasting,
      (bytes) => this.transmit(bytes),
      () => this.channels.delete(id),
      { now: this.env.now, quietMs: () => this.quickestMs },
    );
    this.channels.set(id, channel);
    return channel;
  }

  private transmit(bytes: Uint8Array<ArrayBuffer>) {
    if (!this.connection) return;
    this.sent += bytes.length;
    this.connection.send(bytes);
  }

  private async connect() {
    this.drop();
    const generation = ++this.generation;
    this.set({ ...this.state, phase: this.attempt > 0 ? "lost" : "connecting", error: null });
    let ticket: string;
    try {
      ticket = await this.env.ticket();
    } catch (error) {
      if (generation !== this.generation) return;
      if (error instanceof ApiError && isFinal(error)) this.finish("closed", { error });
      else this.retryLater();
      return;
    }
    if (generation !== this.generation) return;
    const connection = this.env.open(ticket);
    this.connection = connection;
    connection.onmessage = ({ data }) => {
      if (generation !== this.generation) return;
      if (typeof data === "string") this.hear(data);
      else if (data instanceof ArrayBuffer) this.receive(new Uint8Array(data));
    };
    connection.onclose = ({ code }) => {
      if (generation !== this.generation) return;
      this.connection = null;
      if (code === REPLACED) this.finish("replaced", {});
      else if (code === CLOSED) this.finish(this.state.refused ? "refused" : "closed", {});
      else this.retryLater();
    };
  }

  private hear(data: string) {
    let value: unknown;
    try {
      value = JSON.parse(data);
    } catch {
      return;
    }
    const message = serverMessage.safeParse(value).data;
    if (message?.type === "session") {
      this.attempt = 0;
      this.set({ ...this.state, facts: message });
    } else if (message?.type === "waiting") {
      this.detach();
      this.set({ ...this.state, phase: "waiting" });
    } else if (message?.type === "ready") {
      this.becameReady(message);
    } else if (message?.type === "refused") {
      const { reason, detail } = message;
      this.detach();
      this.set({ ...this.state, phase: "refused", refused: { reason, detail } });
    } else if (message?.type === "closed") {
      if (message.reason !== "replaced") this.set({ ...this.state, closed: message.reason });
    }
  }

  private becameReady(ready: Ready) {
    const there = new Map(ready.channels.map((live) => [live.channel, live]));
    this.found.clear();
    for (const [id, live] of there) {
      // The server's own, for requests over HTTP.
      if (id >= SERVER_CHANNELS || this.channels.has(id)) continue;
      this.nextId = Math.max(this.nextId, id + 1);
      if (live.kind === "terminal") this.found.set(id, live);
      else this.transmit(endOf(id));
    }
    this.lastEcho = this.env.now();
    this.unanswered = 0;
    const before = [...this.channels.values()];
    this.set({ ...this.state, phase: "ready", ready, refused: null });
    for (const channel of before) channel.begin(there.has(channel.id));
    this.ping();
  }

  private receive(bytes: Uint8Array) {
    this.received += bytes.length;
    const frame = readFrame(bytes);
    if (!frame) return;
    if (frame.channel === SESSION_CHANNEL) this.echo(frame);
    else this.channels.get(frame.channel)?.receive(frame);
  }

  private ping() {
    this.stopBeat();
    const beat = () => {
      if (this.unanswered >= DEAD_PINGS && this.env.now() - this.lastEcho > DEAD_MS) {
        this.connection?.close();
        this.connection = null;
        this.generation += 1;
        this.retryLater();
        return;
      }
      const microseconds = Math.round(this.env.now() * 1000);
      this.transmit(jsonFrame(SESSION_CHANNEL, KIND.message, { ping: microseconds }));
      this.unanswered += 1;
      this.publish();
      this.beat = this.env.setTimer(beat, PING_MS);
    };
    beat();
  }

  private echo({ kind, body }: Frame) {
    const echo = kind === KIND.message ? jsonOf(ping, body) : null;
    if (!echo) return;
    this.lastEcho = this.env.now();
    this.unanswered = 0;
    const tookMs = this.env.now() - echo.ping / 1000;
    this.quickestMs = Math.min(this.quickestMs ?? tookMs, tookMs);
    this.echoes = [...this.echoes.slice(1 - ECHOES), tookMs];
    this.publish();
  }

  private publish() {
    const sorted = [...this.echoes].sort((a, b) => a - b);
    this.figures = {
      latencyMs: sorted[Math.floor(sorted.length / 2)] ?? null,
      receivedBytes: this.received,
      sentBytes: this.sent,
    };
    for (const notify of this.figureListeners) notify();
  }

  private retryLater() {
    this.drop();
    this.attempt += 1;
    this.set({ ...this.state, phase: "lost" });
    this.retry = this.env.setTimer(
      () => this.connect(),
      backoffMs(this.attempt - 1, this.env.random),
    );
  }

  private finish(phase: "closed" | "refused" | "replaced", more: Partial<TunnelState>) {
    this.drop();
    this.set({ ...this.state, ...more, phase });
  }

  private detach() {
    this.stopBeat();
    this.echoes = [];
    for (const channel of [...this.channels.values()]) channel.detach();
  }

  private drop() {
    if (this.retry !== null) this.env.clearTimer(this.retry);
    this.retry = null;
    this.detach();
    this.publish();
    if (this.connection) {
      this.connection.onmessage = null;
      this.connection.onclose = null;
      this.connection.close();
      this.connection = null;
    }
  }

  private stopBeat() {
    if (this.beat !== null) this.env.clearTimer(this.beat);
    this.beat = null;
  }

  private set(state: TunnelState) {
    this.state = state;
    for (const notify of this.listeners) notify();
  }
}

function listener(listeners: Set<() => void>) {
  return (notify: () => void): (() => void) => {
    listeners.add(notify);
    return () => listeners.delete(notify);
  };
}

/** No later try can do better: the session is over, or not this person's. */
function isFinal({ status }: ApiError): boolean {
  return status >= 400 && status < 500 && status !== 408 && status !== 429;
}
