import type { z } from "zod";
import type { Channel } from "./channel";
import { failure } from "./failure";
import type { Tunnel } from "./session";
import {
  type FileAnswer,
  type FileRequest,
  fileAnswer,
  jsonOf,
  type ProcessAnswer,
  type ProcessRequest,
  processAnswer,
  type RegistryAnswer,
  type RegistryRequest,
  registryAnswer,
  response,
  type ServiceAnswer,
  type ServiceRequest,
  serviceAnswer,
} from "./wire";

/** Most that are under way at a time. */
const MAX_PENDING = 64;

interface Pending<R, A> {
  request: R;
  /** Asked again after a lost link: it changes nothing. */
  mayRepeat: boolean;
  onPart: (part: A) => void;
  onRestart: () => void;
  done: (answer: A) => void;
  failed: (error: unknown) => void;
}

/** What an asker may want to know before the reply. */
export interface Asking<A> {
  /** A part of the answer. */
  onPart?: (part: A) => void;
  /** The link was lost and the question is asked anew: parts begin from the first. */
  onRestart?: () => void;
  signal?: AbortSignal;
}

/** A channel of requests and replies. It is opened when something is asked, and again when the link was lost. */
export class Requests<R extends { do: string }, A> {
  private channel: Channel | null = null;
  private nextId = 1;
  private isClosed = false;
  private readonly pending = new Map<number, Pending<R, A>>();
  private readonly stopWatching: () => void;

  constructor(
    private readonly tunnel: Tunnel,
    private readonly kind: "files" | "processes" | "services" | "registry",
    private readonly answers: z.ZodType<A>,
    /** What may be asked a second time without doing anything twice. */
    private readonly reads: readonly R["do"][],
  ) {
    this.stopWatching = tunnel.onState(() => this.flush());
  }

  /** Asks, and waits for the reply. */
  ask(request: R, { onPart, onRestart, signal }: Asking<A> = {}): Promise<A> {
    return new Promise((done, failed) => {
      if (signal?.aborted) return failed(signal.reason);
      if (this.isClosed) return failed(failure({ code: "closed" }));
      if (this.pending.size >= MAX_PENDING) return failed(failure({ code: "too_many" }));
      const id = this.nextId++;
      this.pending.set(id, {
        request,
        mayRepeat: this.reads.includes(request.do),
        onPart: onPart ?? (() => undefined),
        onRestart: onRestart ?? (() => undefined),
        done,
        failed,
      });
      signal?.addEventListener("abort", () => {
        if (this.pending.delete(id)) failed(signal.reason);
      });
      if (this.channel) this.send(this.channel, id, request);
      else this.flush();
    });
  }

  close() {
    this.isClosed = true;
    this.stopWatching();
    this.channel?.end();
    this.channel = null;
    this.failAll("closed");
  }

  /** Opens the channel if it is wanted and can be, and asks what waits. */
  private flush() {
    const { phase } = this.tunnel.getState();
    if (phase === "closed" || phase === "refused") this.failAll("closed");
    if (phase !== "ready" || this.channel || this.isClosed || this.pending.size === 0) return;
    const channel = this.tunnel.open(
      { kind: this.kind },
      {
        onMessage: (body, dealt) => {
          this.receive(body);
          dealt();
        },
        onEnd: ({ error }, isLinkLost) => {
          if (this.channel !== channel) return;
          this.channel = null;
          if (isLinkLost) this.linkLost();
          else this.failAll(error?.code ?? "closed", error?.detail);
        },
      },
    );
    this.channel = channel;
    for (const [id, { request }] of this.pending) this.send(channel, id, request);
  }

  private send(channel: Channel, id: number, request: R) {
    // Gone with the channel; what is pending says then how it goes on.
    channel.message({ id, request }).catch((error: unknown) => {
      if (error instanceof RangeError) this.settle(id)?.failed(failure({ code: "too_large" }));
    });
  }

  private receive(body: Uint8Array) {
    const message = jsonOf(response(this.answers), body);
    if (!message) return;
    if ("part" in message) this.pending.get(message.id)?.onPart(message.part);
    else if ("reply" in message) this.settle(message.id)?.done(message.reply);
    else this.settle(message.id)?.failed(failure(message.error));
  }

  private settle(id: number) {
    const pending = this.pending.get(id);
    this.pending.delete(id);
    return pending;
  }

  private linkLost() {
    for (const [id, { mayRepeat, onRestart, failed }] of [...this.pending]) {
      if (mayRepeat) {
        onRestart();
      } else {
        this.pending.delete(id);
        const detail = "The link was lost before the machine answered. Look whether it was done.";
        failed(failure({ code: "closed", detail }));
      }
    }
    this.flush();
  }

  private failAll(code: Parameters<typeof failure>[0]["code"], detail?: string) {
    const all = [...this.pending.values()];
    this.pending.clear();
    for (const { failed } of all) failed(failure({ code, detail }));
  }
}

export type Files = Requests<FileRequest, FileAnswer>;
export type Processes = Requests<ProcessRequest, ProcessAnswer>;
export type Services = Requests<ServiceRequest, ServiceAnswer>;
export type Registry = Requests<RegistryRequest, RegistryAnswer>;

export const openFiles = (tunnel: Tunnel): Files =>
  new Requests(tunnel, "files", fileAnswer, ["places", "list", "stat", "read_text"]);
export const openProcesses = (tunnel: Tunnel): Processes =>
  new Requests(tunnel, "processes", processAnswer, ["list", "watch"]);
export const openServices = (tunnel: Tunnel): Services =>
  new Requests(tunnel, "services", serviceAnswer, ["list", "log"]);
export const openRegistry = (tunnel: Tunnel): Registry =>
  new Requests(tunnel, "registry", registryAnswer, ["list", "export"]);
