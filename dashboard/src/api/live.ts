import { backoffMs } from "../lib/backoff";
import type { InvalidationKind } from "./keys";
import type { Command, Sample } from "./types";

export type Topic =
  | { kind: "agent_metrics"; agent_id: string }
  | { kind: "command_output"; command_id: string; after_seq: number };

export type LiveMessage =
  | { type: "hello"; server_time: string }
  | { type: "invalidate"; kind: InvalidationKind; id: string | null; agent_id?: string | null }
  | { type: "metrics"; sub: number; agent_id: string; sample: Sample }
  | {
      type: "output";
      sub: number;
      command_id: string;
      seq: number;
      stream: "stdout" | "stderr";
      text: string;
    }
  | { type: "command"; sub: number; command: Command }
  | { type: "error"; sub: number; code: string };

export type SubscriptionMessage = Extract<LiveMessage, { sub: number }>;

export type LiveStatus = "idle" | "connecting" | "live" | "lost" | "signed_out";

/** What the link needs from its surroundings, so that tests can stand in for them. */
export interface LiveEnvironment {
  ticket: () => Promise<string>;
  open: (ticket: string) => LiveConnection;
  setTimer: (run: () => void, delayMs: number) => number;
  clearTimer: (timer: number) => void;
  random: () => number;
}

/** The part of a WebSocket that the link uses. */
export type LiveConnection = Pick<WebSocket, "send" | "close" | "onmessage" | "onclose">;

export interface LiveEvents {
  onInvalidate: (message: Extract<LiveMessage, { type: "invalidate" }>) => void;
  /** The link came back after it was lost: whatever was missed meanwhile must be fetched again. */
  onReconnect: () => void;
  /** The session is over; there is no point in trying again. */
  onSignedOut: () => void;
}

interface Subscription {
  topic: () => Topic;
  onMessage: (message: SubscriptionMessage) => void;
}

const SESSION_REVOKED = 4401;

/** One socket per page: invalidations for everyone, streams for whoever subscribes, and a way back when it breaks. */
export class LiveLink {
  private status: LiveStatus = "idle";
  private connection: LiveConnection | null = null;
  private timer: number | null = null;
  private attempt = 0;
  private generation = 0;
  private wasLive = false;
  private nextSubscription = 1;
  private readonly subscriptions = new Map<number, Subscription>();
  private readonly listeners = new Set<() => void>();

  constructor(
    private readonly env: LiveEnvironment,
    private readonly events: LiveEvents,
  ) {}

  readonly getStatus = (): LiveStatus => this.status;

  readonly onStatus = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  start() {
    if (this.status === "idle" || this.status === "signed_out") this.connect();
  }

  stop() {
    this.generation += 1;
    this.clearTimer();
    this.drop();
    this.wasLive = false;
    this.setStatus("idle");
  }

  /** Does not wait for the back-off: the network is back or the page is looked at again. */
  retryNow() {
    if (this.status === "lost") {
      this.attempt = 0;
      this.connect();
    }
  }

  /** `topic` is asked again on every reconnect, so a stream can resume after what it has already seen. */
  subscribe(topic: () => Topic, onMessage: Subscription["onMessage"]): () => void {
    const sub = this.nextSubscription++;
    this.subscriptions.set(sub, { topic, onMessage });
    if (this.status === "live") this.send({ op: "subscribe", sub, topic: topic() });
    return () => {
      this.subscriptions.delete(sub);
      if (this.status === "live") this.send({ op: "unsubscribe", sub });
    };
  }

  private async connect() {
    this.clearTimer();
    this.drop();
    const generation = ++this.generation;
    this.setStatus(this.wasLive || this.attempt > 0 ? "lost" : "connecting");
    let ticket: string;
    try {
      ticket = await this.env.ticket();
    } catch (error) {
      if (generation !== this.generation) return;
      if (isUnauthenticated(error)) this.signedOut();
      else this.retryLater();
      return;
    }
    if (generation !== this.generation) return;
    const connection = this.env.open(ticket);
    this.connection = connection;
    connection.onmessage = ({ data }) => {
      if (generation === this.generation && typeof data === "string") this.receive(data);
    };
    connection.onclose = ({ code }) => {
      if (generation !== this.generation) return;
      this.connection = null;
      if (code === SESSION_REVOKED) this.signedOut();
      else this.retryLater();
    };
  }

  private receive(data: string) {
    const message = parseMessage(data);
    if (!message) return;
    if (message.type === "hello") {
      this.becameLive();
    } else if (message.type === "invalidate") {
      this.events.onInvalidate(message);
    } else if ("sub" in message) {
      this.subscriptions.get(message.sub)?.onMessage(message);
    }
  }

  private becameLive() {
    const returned = this.wasLive;
    this.wasLive = true;
    this.attempt = 0;
    this.setStatus("live");
    for (const [sub, { topic }] of this.subscriptions) {
      this.send({ op: "subscribe", sub, topic: topic() });
    }
    if (returned) this.events.onReconnect();
  }

  private retryLater() {
    this.drop();
    const delay = backoffMs(this.attempt, this.env.random);
    this.attempt += 1;
    this.setStatus("lost");
    this.timer = this.env.setTimer(() => {
      this.timer = null;
      this.connect();
    }, delay);
  }

  private signedOut() {
    this.generation += 1;
    this.clearTimer();
    this.drop();
    this.wasLive = false;
    this.setStatus("signed_out");
    this.events.onSignedOut();
  }

  private send(message: object) {
    this.connection?.send(JSON.stringify(message));
  }

  private drop() {
    const connection = this.connection;
    this.connection = null;
    if (!connection) return;
    connection.onmessage = null;
    connection.onclose = null;
    connection.close();
  }

  private clearTimer() {
    if (this.timer !== null) this.env.clearTimer(this.timer);
    this.timer = null;
  }

  private setStatus(status: LiveStatus) {
    if (status === this.status) return;
    this.status = status;
    for (const listener of this.listeners) listener();
  }
}

/** Messages of a newer server that this page does not know are ignored. */
function parseMessage(data: string): LiveMessage | null {
  try {
    const message: unknown = JSON.parse(data);
    if (typeof message !== "object" || message === null || !("type" in message)) return null;
    return message as LiveMessage;
  } catch {
    return null;
  }
}

function isUnauthenticated(error: unknown): boolean {
  return typeof error === "object" && error !== null && "status" in error && error.status === 401;
}
