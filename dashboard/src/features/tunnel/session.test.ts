import { beforeEach, describe, expect, it } from "vitest";
import { ApiError } from "../../lib/problem";
import type { ChannelEvents } from "./channel";
import { Tunnel, type TunnelConnection } from "./session";
import {
  attach,
  creditFrame,
  creditOf,
  dataFrame,
  dataOf,
  type Frame,
  jsonFrame,
  jsonOf,
  KIND,
  open,
  readFrame,
  WINDOW_BYTES,
} from "./wire";

class FakeConnection implements TunnelConnection {
  sent: Frame[] = [];
  closed = false;
  onmessage: WebSocket["onmessage"] = null;
  onclose: WebSocket["onclose"] = null;

  send(data: string | ArrayBufferLike | Blob | ArrayBufferView) {
    const frame = data instanceof Uint8Array ? readFrame(data) : null;
    if (frame && frame.channel !== 0) this.sent.push(frame);
  }
  close() {
    this.closed = true;
  }
  says(message: Record<string, unknown>) {
    this.receive(JSON.stringify(message));
  }
  frame(bytes: Uint8Array<ArrayBuffer>) {
    this.receive(bytes.buffer);
  }
  ready(channels: { channel: number; kind: string; label?: string }[] = []) {
    this.says({ type: "ready", channels, shells: [], kinds: ["terminal"], path: "direct" });
  }
  breaks(code = 1006) {
    this.onclose?.call({} as WebSocket, { code } as CloseEvent);
  }
  private receive(data: unknown) {
    this.onmessage?.call({} as WebSocket, { data } as MessageEvent);
  }
}

const settle = () => new Promise((done) => setTimeout(done, 0));
const text = (body: Uint8Array) => new TextDecoder().decode(body);
const bytes = (typed: string) => new TextEncoder().encode(typed);

let connections: FakeConnection[];
let timers: { run: () => void; delayMs: number }[];
let refusal: Error | null;
let clock: number;
let tunnel: Tunnel;
const link = () => connections.at(-1) as FakeConnection;

beforeEach(() => {
  connections = [];
  timers = [];
  refusal = null;
  clock = 0;
  tunnel = new Tunnel({
    ticket: () => (refusal ? Promise.reject(refusal) : Promise.resolve("t")),
    open: () => {
      connections.push(new FakeConnection());
      return link();
    },
    setTimer: (run, delayMs) => timers.push({ run, delayMs }),
    clearTimer: (timer) => {
      const armed = timers[timer - 1];
      if (armed) armed.run = () => undefined;
    },
    random: () => 0.5,
    now: () => clock,
  });
});

async function connected() {
  tunnel.start();
  await settle();
  link().ready();
}

const TERMINAL = { kind: "terminal", context: "system", columns: 80, rows: 24 } as const;

function terminal(events: ChannelEvents = {}) {
  const channel = tunnel.open(TERMINAL, events, { lasting: true });
  const frame = link().sent.at(-1);
  expect(frame && jsonOf(open, frame.body)).toEqual({ window: WINDOW_BYTES, channel: TERMINAL });
  link().frame(jsonFrame(channel.id, KIND.opened, { window: 1000, from: 0, received: 0 }));
  return channel;
}

/** The link breaks and is there again. */
async function again(channels: { channel: number; kind: string }[]) {
  link().breaks();
  timers.at(-1)?.run();
  await settle();
  link().ready(channels);
}

describe("a session", () => {
  it("says what the server and the machine say of it", async () => {
    tunnel.start();
    expect(tunnel.getState().phase).toBe("connecting");
    await settle();
    link().says({ type: "waiting" });
    expect(tunnel.getState().phase).toBe("waiting");
    link().ready();
    expect(tunnel.getState().phase).toBe("ready");
    link().says({ type: "closed", reason: "idle" });
    link().breaks(4000);
    expect(tunnel.getState()).toMatchObject({ phase: "closed", closed: "idle" });
    expect(connections).toHaveLength(1);
  });

  it("stays closed where the server says that it is over", async () => {
    refusal = new ApiError({ status: 409, code: "CLOSED", detail: "The session is closed." });
    tunnel.start();
    await settle();
    expect(tunnel.getState().phase).toBe("closed");
    expect(tunnel.getState().error?.message).toBe("The session is closed.");
    expect(timers).toHaveLength(0);
  });

  it("comes back from a lost link, waiting longer each time", async () => {
    await connected();
    link().breaks(4002);
    expect(tunnel.getState().phase).toBe("lost");
    refusal = new ApiError({ status: 0, code: "NETWORK", detail: "-" });
    const first = timers.at(-1);
    first?.run();
    await settle();
    expect(timers.at(-1)?.delayMs).toBeGreaterThan(first?.delayMs ?? 0);
    refusal = null;
    timers.at(-1)?.run();
    await settle();
    link().ready();
    expect(tunnel.getState().phase).toBe("ready");
  });

  it("leaves a session alone that goes on in another window, until it is asked back", async () => {
    await connected();
    link().breaks(4001);
    expect(tunnel.getState().phase).toBe("replaced");
    tunnel.retryNow();
    await settle();
    expect(connections).toHaveLength(2);
  });

  it("measures the way, and takes a link for dead on which nothing comes back", async () => {
    await connected();
    clock = 12;
    const echo = jsonFrame(0, KIND.message, { ping: 2_000 });
    link().frame(echo);
    expect(tunnel.getFigures().latencyMs).toBe(10);
    expect(tunnel.getFigures().receivedBytes).toBe(echo.length);
    for (clock = 2_000; clock < 20_000; clock += 2_000) timers.at(-1)?.run();
    expect(tunnel.getState().phase).toBe("ready");
    clock = 21_000;
    timers.at(-1)?.run();
    expect(tunnel.getState().phase).toBe("lost");
    expect(link().closed).toBe(true);
  });

  it("keeps the link of a page that nobody looks at, and of one that was busy for long", async () => {
    await connected();
    for (clock = 60_000; clock <= 300_000; clock += 60_000) {
      timers.at(-1)?.run();
      link().frame(jsonFrame(0, KIND.message, { ping: clock * 1000 }));
    }
    expect(tunnel.getState().phase).toBe("ready");
    // After a sleep, a link that is dead is noticed soon.
    clock = 4_000_000;
    for (const phase of ["ready", "ready", "lost"]) {
      timers.at(-1)?.run();
      expect(tunnel.getState().phase).toBe(phase);
      clock += 2_000;
    }
  });
});

describe("a terminal's channel", () => {
  it("sends what is typed as far as the machine has granted", async () => {
    await connected();
    const channel = terminal();
    channel.type(new Uint8Array(2_000));
    expect(link().sent.at(-1)?.body.length).toBe(1000);
    const before = link().sent.length;
    link().frame(creditFrame(channel.id, 8));
    expect(link().sent).toHaveLength(before);
    link().frame(creditFrame(channel.id, 100));
    expect(link().sent.at(-1)?.body.length).toBe(108);
  });

  it("grants what was dealt with, in no more frames than needed", async () => {
    await connected();
    const owed: (() => void)[] = [];
    const channel = terminal({ onData: (_bytes, _offset, dealt) => owed.push(dealt) });
    const piece = new Uint8Array(32 * 1024);
    for (let n = 0; n < 4; n++) link().frame(dataFrame(channel.id, n * piece.length, piece));
    const credits = () => link().sent.filter(({ kind }) => kind === KIND.credit);
    owed[0]?.();
    owed[0]?.();
    expect(credits()).toHaveLength(0);
    owed[1]?.();
    expect(credits().map(({ body }) => creditOf(body))).toEqual([2 * (piece.length + 8)]);
  });

  it("goes on after a lost link: nothing twice, nothing lost", async () => {
    await connected();
    let shown = "";
    const channel = terminal({
      onData: (data, _offset, dealt) => {
        shown += text(data);
        dealt();
      },
    });
    link().frame(dataFrame(channel.id, 0, bytes("$ ")));
    channel.type(bytes("make"));
    link().breaks();
    channel.type(bytes(" all\n"));
    expect(channel.state).toBe("detached");
    timers.at(-1)?.run();
    await settle();
    link().ready([{ channel: channel.id, kind: "terminal" }]);
    const asked = link().sent[0];
    expect(asked && jsonOf(attach, asked.body)).toEqual({ have: 2, window: WINDOW_BYTES });
    expect(link().sent).toHaveLength(1);
    link().frame(jsonFrame(channel.id, KIND.opened, { window: 1000, from: 2, received: 3 }));
    const resent = link().sent[1];
    expect(resent && dataOf(resent.body)).toEqual({ offset: 3, bytes: bytes("e all\n") });
    link().frame(dataFrame(channel.id, 0, bytes("$ make all\n")));
    expect(shown).toBe("$ make all\n");
  });

  it("tells where the machine no longer keeps what was between", async () => {
    await connected();
    const offsets: number[] = [];
    const channel = terminal({ onData: (_data, offset) => offsets.push(offset) });
    await again([{ channel: channel.id, kind: "terminal" }]);
    link().frame(jsonFrame(channel.id, KIND.opened, { window: 9, from: 5_000, received: 0 }));
    link().frame(dataFrame(channel.id, 5_000, bytes("x")));
    expect(offsets).toEqual([5_000]);
  });

  it("attached again is granted what is not yet dealt with only when it is", async () => {
    await connected();
    const owed: (() => void)[] = [];
    const channel = terminal({ onData: (_bytes, _offset, dealt) => owed.push(dealt) });
    link().frame(dataFrame(channel.id, 0, new Uint8Array(60_000)));
    link().frame(dataFrame(channel.id, 60_000, new Uint8Array(60_000)));
    await again([{ channel: channel.id, kind: "terminal" }]);
    const [asked] = link().sent;
    expect(asked && jsonOf(attach, asked.body)?.window).toBe(WINDOW_BYTES - 120_016);
    for (const dealt of owed) dealt();
    link().frame(jsonFrame(channel.id, KIND.opened, { window: 1, from: 0, received: 0 }));
    const granted = link().sent.at(-1);
    expect(granted && creditOf(granted.body)).toBe(120_016);
  });

  it("ends when the machine has it no more", async () => {
    await connected();
    const ends: boolean[] = [];
    const channel = terminal({ onEnd: (_end, isLinkLost) => ends.push(isLinkLost) });
    await again([]);
    expect(channel.state).toBe("ended");
    expect(ends).toEqual([true]);
    expect(channel.type(bytes("x"))).toBe(false);
  });

  it("is opened again when the first order was lost with the link", async () => {
    await connected();
    const channel = tunnel.open(TERMINAL, {}, { lasting: true });
    await again([]);
    expect(link().sent.map(({ kind }) => kind)).toEqual([KIND.open]);
    expect(channel.state).toBe("opening");
  });
});

describe("channels from before", () => {
  it("are gone on with when they are terminals, ended when nobody knows them, else left alone", async () => {
    tunnel.start();
    await settle();
    link().ready([
      { channel: 4, kind: "terminal", label: "bash" },
      { channel: 9, kind: "files" },
      { channel: 0x8000_0001, kind: "processes" },
    ]);
    expect(link().sent.map(({ channel, kind }) => [channel, kind])).toEqual([[9, KIND.end]]);
    expect(tunnel.foundTerminals).toEqual([{ channel: 4, kind: "terminal", label: "bash" }]);
    const channel = tunnel.adopt(4, {});
    channel.type(bytes("l"));
    link().frame(jsonFrame(4, KIND.opened, { window: 1000, from: 70, received: 30 }));
    channel.type(bytes("s"));
    const data = link().sent.filter(({ kind }) => kind === KIND.data);
    expect(data.map(({ body }) => dataOf(body).offset)).toEqual([30, 31]);
    expect(tunnel.open(TERMINAL, {}, { lasting: true }).id).toBe(10);
  });
});

describe("a channel of a transfer", () => {
  it("waits for credit, and is over with the link", async () => {
    await connected();
    const ends: boolean[] = [];
    const channel = tunnel.open(
      { kind: "upload", path: "/srv/a", size: 5, replace: false, resume_key: "k" },
      { onEnd: (_end, isLinkLost) => ends.push(isLinkLost) },
    );
    link().frame(jsonFrame(channel.id, KIND.opened, { window: 20, from: 0, received: 0 }));
    await channel.data(0, bytes("0123456789"));
    let isSent = false;
    const second = channel.data(10, bytes("abc")).then(() => {
      isSent = true;
    });
    await settle();
    expect(isSent).toBe(false);
    link().frame(creditFrame(channel.id, 9));
    await second;
    expect(link().sent.at(-1)).toMatchObject({ kind: KIND.data, flags: 1 });
    const third = channel.data(13, bytes("d".repeat(100)));
    link().breaks();
    await expect(third).rejects.toMatchObject({ isLinkLost: true });
    expect(ends).toEqual([true]);
  });
});
