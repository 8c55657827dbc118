import { Outbox } from "./outbox";
import { OF_DOWNLOADS_MS, OF_UPLOADS_MS, Pace } from "./pace";
import {
  type ChannelEnd,
  channelEnd,
  creditFrame,
  creditOf,
  dataCost,
  dataFrame,
  dataOf,
  FLAG,
  type Frame,
  jsonFrame,
  jsonOf,
  KIND,
  type OpenChannel,
  type Opened,
  opened,
  WINDOW_BYTES,
  writeFrame,
} from "./wire";

export interface ChannelEvents {
  /** The machine has it, or goes on with it. */
  onOpened?: (opened: Opened, isAgain: boolean) => void;
  /**
   * Bytes of the machine's stream, in order and none twice. `offset` is beyond the last byte only where the machine no longer
   * keeps what was between. It sends more when `dealt` was called.
   */
  onData?: (bytes: Uint8Array, offset: number, dealt: () => void) => void;
  onMessage?: (body: Uint8Array, dealt: () => void) => void;
  onEnd?: (end: ChannelEnd, isLinkLost: boolean) => void;
}

export type ChannelState = "opening" | "open" | "detached" | "ended";

/** Thrown to whoever sends on a channel that is gone. */
export class ChannelGone extends Error {
  constructor(readonly isLinkLost: boolean) {
    super("the channel is gone");
  }
}

const LINK_LOST: ChannelEnd = { error: { code: "closed", detail: "The link was lost." } };

/** What is known of the way to the machine. */
export interface Line {
  now: () => number;
  /** The shortest way there and back that was seen, in milliseconds; null while none was. */
  quietMs: () => number | null;
}

/** The page's end of one channel. */
export class Channel {
  state: ChannelState;
  /** Of a transfer: how far it may be ahead. */
  private readonly pace: Pace | null;
  private readonly isUpload: boolean;
  /** Bytes of an upload that the machine has not dealt with. */
  private ahead = 0;
  /** Bytes of bodies that may be sent. */
  private credit = 0;
  private readonly outbox = new Outbox();
  /** Up to where the machine's stream is here. */
  private have = 0;
  /** Came and was not dealt with; dealt with and not yet granted again. */
  private undealt = 0;
  private grantable = 0;
  private isFound: boolean;
  private readonly waiting: { need: number; go: () => void; fail: (why: ChannelGone) => void }[] =
    [];

  constructor(
    readonly id: number,
    /** Absent: it was found at the machine. */
    private readonly asked: OpenChannel | null,
    private readonly events: ChannelEvents,
    /** Whether it goes on after a lost link. */
    private readonly isLasting: boolean,
    private readonly transmit: (bytes: Uint8Array<ArrayBuffer>) => void,
    private readonly forget: () => void,
    private readonly line: Line,
  ) {
    this.state = asked ? "opening" : "detached";
    this.isFound = asked === null;
    this.isUpload = asked?.kind === "upload";
    const handlingMs = this.isUpload ? OF_UPLOADS_MS : OF_DOWNLOADS_MS;
    const isPaced = this.isUpload || asked?.kind === "download";
    this.pace = isPaced ? new Pace(line.now(), handlingMs) : null;
  }

  /** Bytes of bodies that the machine may send. */
  private get window(): number {
    return this.pace && !this.isUpload ? this.pace.window : WINDOW_BYTES;
  }

  /** Says to the machine what is wanted: at first, and when the link is there again. */
  begin(isThere: boolean) {
    if (this.state === "ended") return;
    if (isThere) {
      this.state = "detached";
      // What was granted before is void; what is here and not dealt with is granted when it is.
      this.grantable = 0;
      const window = Math.max(0, this.window - this.undealt);
      this.transmit(jsonFrame(this.id, KIND.attach, { have: this.have, window }));
    } else if (this.state === "opening" && this.asked) {
      const body = { window: this.window, channel: this.asked };
      this.transmit(jsonFrame(this.id, KIND.open, body));
    } else {
      this.finish(LINK_LOST, true);
    }
  }

  /** There is no link, for now. */
  detach() {
    if (this.state === "open") this.state = "detached";
    if (!this.isLasting && this.state !== "ended") this.finish(LINK_LOST, true);
  }

  /** What is typed. It arrives, if need be when the link is there again. False: too much is on its way already. */
  type(bytes: Uint8Array): boolean {
    if (this.state === "ended" || !this.outbox.push(bytes)) return false;
    this.pump();
    return true;
  }

  /** Bytes of a transfer, once the machine takes them. */
  async data(offset: number, bytes: Uint8Array): Promise<void> {
    await this.affords(dataCost(bytes.length));
    this.transmit(dataFrame(this.id, offset, bytes, FLAG.bulk));
  }

  /** A message of the channel's own protocol, once the machine takes it. */
  async message(value: unknown): Promise<void> {
    const frame = jsonFrame(this.id, KIND.message, value);
    const cost = frame.length - 8;
    await this.affords(cost);
    this.outbox.message(cost);
    this.transmit(frame);
  }

  /** Ends it from here. */
  end() {
    if (this.state === "ended") return;
    this.transmit(jsonFrame(this.id, KIND.end, {}));
    this.finish({}, false);
  }

  receive({ kind, body }: Frame) {
    if (this.state === "ended") return;
    if (kind === KIND.opened) this.becameOpen(body);
    else if (kind === KIND.data) this.receiveData(body);
    else if (kind === KIND.message) {
      const dealt = this.owe(body.length);
      if (this.events.onMessage) this.events.onMessage(body, dealt);
      else dealt();
    } else if (kind === KIND.credit) {
      const dealt = creditOf(body);
      this.credit += dealt;
      if (this.isUpload) {
        this.ahead = Math.max(0, this.ahead - dealt);
        this.pace?.through(dealt, this.line.now(), this.line.quietMs());
      }
      this.outbox.grant(dealt);
      this.pump();
    } else if (kind === KIND.end) {
      this.finish(jsonOf(channelEnd, body) ?? {}, false);
    }
  }

  private becameOpen(body: Uint8Array) {
    const answer = jsonOf(opened, body);
    if (!answer) return;
    const isAgain = this.state !== "opening";
    this.state = "open";
    this.credit = answer.window;
    this.ahead = 0;
    if (isAgain) {
      if (this.isFound) this.outbox.begin(answer.received);
      else this.outbox.resume(answer.received);
      this.isFound = false;
    }
    this.have = Math.max(this.have, answer.from);
    this.events.onOpened?.(answer, isAgain);
    this.grant(0);
    this.pump();
  }

  private receiveData(body: Uint8Array) {
    const { offset, bytes } = dataOf(body);
    const dealt = this.owe(body.length);
    const known = Math.max(0, this.have - offset);
    if (known >= bytes.length || !this.events.onData) {
      dealt();
      return;
    }
    this.have = offset + bytes.length;
    this.events.onData(bytes.subarray(known), offset + known, dealt);
  }

  /** Notes what came, and answers how it is said that it was dealt with. */
  private owe(cost: number): () => void {
    this.undealt += cost;
    let isDealt = false;
    return () => {
      if (isDealt) return;
      isDealt = true;
      this.undealt -= cost;
      this.grant(cost);
    };
  }

  private grant(bytes: number) {
    this.grantable += bytes;
    if (this.state !== "open" || this.grantable < this.window / 4) return;
    if (this.pace && !this.isUpload) {
      this.grantable += this.pace.through(this.grantable, this.line.now(), this.line.quietMs());
      // The window became so much smaller that all of this is kept back.
      if (this.grantable <= 0) return;
    }
    this.transmit(creditFrame(this.id, this.grantable));
    this.grantable = 0;
  }

  private fits(cost: number): boolean {
    // One piece always goes, however large.
    const most = this.isUpload && this.pace && this.ahead > 0 ? this.pace.window : Infinity;
    return this.credit >= cost && this.ahead + cost <= most;
  }

  private pay(cost: number) {
    this.credit -= cost;
    if (this.isUpload) this.ahead += cost;
  }

  private affords(cost: number): Promise<void> {
    if (this.state === "ended") return Promise.reject(new ChannelGone(false));
    if (this.state === "open" && this.waiting.length === 0 && this.fits(cost)) {
      this.pay(cost);
      return Promise.resolve();
    }
    return new Promise((go, fail) => this.waiting.push({ need: cost, go, fail }));
  }

  private pump() {
    if (this.state !== "open") return;
    for (let piece = this.outbox.next(this.credit); piece; piece = this.outbox.next(this.credit)) {
      this.credit -= dataCost(piece.bytes.length);
      this.transmit(dataFrame(this.id, piece.offset, piece.bytes));
    }
    for (let first = this.waiting[0]; first; first = this.waiting[0]) {
      if (!this.fits(first.need)) return;
      this.pay(first.need);
      this.waiting.shift();
      first.go();
    }
  }

  private finish(end: ChannelEnd, isLinkLost: boolean) {
    this.state = "ended";
    this.forget();
    for (const { fail } of this.waiting.splice(0)) fail(new ChannelGone(isLinkLost));
    this.events.onEnd?.(end, isLinkLost);
  }
}

/** Ends a channel that nobody here knows of. */
export const endOf = (id: number) =>
  writeFrame({ channel: id, kind: KIND.end, flags: 0, body: new TextEncoder().encode("{}") });
