import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { beforeEach, describe, expect, it } from "vitest";
import { type Channel, type ChannelEvents, ChannelGone } from "../channel";
import type { Phase, Tunnel } from "../session";
import type { ChannelEnd, OpenChannel, Opened } from "../wire";
import type { Sink } from "./save";
import { resumeKey, type Transfer, Transfers } from "./transfers";

function concat(pieces: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** One transfer's channel, whose machine is the test. */
class FakeChannel {
  sent: { offset: number; bytes: Uint8Array }[] = [];
  messages: unknown[] = [];
  isEnded = false;
  /** From here on the link is gone. */
  breaksAt = Number.POSITIVE_INFINITY;
  constructor(
    private readonly tunnel: { phase: Phase },
    readonly asked: OpenChannel,
    readonly events: ChannelEvents,
  ) {}
  async data(offset: number, bytes: Uint8Array) {
    if (this.isEnded) throw new ChannelGone(false);
    if (offset >= this.breaksAt) {
      this.loses();
      throw new ChannelGone(true);
    }
    this.sent.push({ offset, bytes });
  }
  async message(value: unknown) {
    this.messages.push(value);
  }
  end() {
    if (this.isEnded) return;
    this.isEnded = true;
    this.events.onEnd?.({}, false);
  }
  opens(opened: Partial<Opened>) {
    this.events.onOpened?.({ window: 1e9, from: 0, received: 0, ...opened }, false);
  }
  says(bytes: Uint8Array, offset = 0) {
    this.events.onData?.(bytes, offset, () => undefined);
  }
  ends(end: ChannelEnd) {
    this.isEnded = true;
    this.events.onEnd?.(end, false);
  }
  loses() {
    this.isEnded = true;
    this.tunnel.phase = "lost";
    this.events.onEnd?.({ error: { code: "closed", detail: "" } }, true);
  }
  get whole() {
    return concat(this.sent.map(({ bytes }) => bytes));
  }
}

class FakeTunnel {
  phase: Phase = "ready";
  channels: FakeChannel[] = [];
  private listeners = new Set<() => void>();
  getState = () => ({ phase: this.phase });
  onState = (listener: () => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };
  open(asked: OpenChannel, events: ChannelEvents): Channel {
    const made = new FakeChannel(this, asked, events);
    this.channels.push(made);
    return made as unknown as Channel;
  }
  becomes(phase: Phase) {
    this.phase = phase;
    for (const listener of this.listeners) listener();
  }
  get last() {
    return this.channels.at(-1) as FakeChannel;
  }
}

const settle = async () => {
  for (let n = 0; n < 20; n++) await new Promise((done) => setTimeout(done, 0));
};
const CONTENT = Uint8Array.from({ length: 100_000 }, (_, n) => (n * 31) % 251);
const HEX = bytesToHex(sha256(CONTENT));
const FILE = new File([CONTENT], "a.bin", { lastModified: 5 });

let fake: FakeTunnel;
let transfers: Transfers;
let stop: () => void;
beforeEach(() => {
  fake = new FakeTunnel();
  transfers = new Transfers(fake as unknown as Tunnel);
  stop = transfers.start();
});
const only = () => transfers.getList()[0] as Transfer;

describe("an upload", () => {
  it("is sent whole, with its checksum, and is done when the machine says so", async () => {
    transfers.upload(FILE, "/srv/a.bin");
    expect(fake.last.asked).toEqual({
      ...{ kind: "upload", path: "/srv/a.bin", size: 100_000, replace: false },
      resume_key: resumeKey(FILE),
    });
    expect(resumeKey(FILE)).toMatch(/^[A-Za-z0-9_-]{1,64}$/);
    fake.last.opens({});
    await settle();
    expect(fake.last.whole).toEqual(CONTENT);
    expect(Math.max(...fake.last.sent.map(({ bytes }) => bytes.length))).toBe(32 * 1024);
    expect(fake.last.messages).toEqual([{ type: "finish", sha256: HEX }]);
    expect(transfers.getIsBusy()).toBe(true);
    fake.last.ends({ sha256: HEX, size: 100_000 });
    await settle();
    expect(only()).toMatchObject({ state: "done", done: 100_000, sha256: HEX });
    expect(transfers.getIsBusy()).toBe(false);
  });

  it("goes on from where the machine has it, once the link is back", async () => {
    transfers.upload(FILE, "/srv/a.bin");
    fake.last.breaksAt = 65_536;
    fake.last.opens({});
    await settle();
    expect(only().state).toBe("interrupted");
    fake.becomes("ready");
    expect(fake.channels).toHaveLength(2);
    fake.last.opens({ received: 40_000 });
    await settle();
    expect(fake.last.sent[0]?.offset).toBe(40_000);
    expect(fake.last.messages).toEqual([{ type: "finish", sha256: HEX }]);
  });

  it("of a page that was loaded again counts what is there already into its checksum", async () => {
    transfers.upload(FILE, "/srv/a.bin");
    fake.last.opens({ received: 99_990 });
    await settle();
    expect(fake.last.whole).toHaveLength(10);
    expect(fake.last.messages).toEqual([{ type: "finish", sha256: HEX }]);
  });

  it("replaces nothing unasked", async () => {
    transfers.upload(FILE, "/srv/a.bin");
    fake.last.ends({ error: { code: "already_exists", detail: "" } });
    await settle();
    expect(only().state).toBe("exists");
    transfers.replace(only().id);
    expect(fake.last.asked).toMatchObject({ replace: true });
  });

  it("says why it failed, and can be tried again", async () => {
    transfers.upload(FILE, "/srv/a.bin");
    fake.last.opens({});
    fake.last.ends({ error: { code: "no_space", detail: "" } });
    await settle();
    expect(only()).toMatchObject({
      state: "failed",
      error: "There is no room left on the machine.",
    });
    transfers.resume(only().id);
    expect(fake.channels).toHaveLength(2);
  });

  it("that arrived as something else is not done", async () => {
    transfers.upload(FILE, "/srv/a.bin");
    fake.last.opens({});
    await settle();
    fake.last.ends({ sha256: "00" });
    await settle();
    expect(only().state).toBe("failed");
  });

  it("waits while two others run, and stands still while it is paused", async () => {
    for (const name of ["a", "b", "c"]) transfers.upload(new File([CONTENT], name), `/srv/${name}`);
    expect(fake.channels).toHaveLength(2);
    const [first] = transfers.getList();
    transfers.pause(first?.id ?? 0);
    await settle();
    expect(fake.channels[0]?.isEnded).toBe(true);
    expect(transfers.getList().map(({ state }) => state)).toEqual(["paused", "running", "running"]);
    fake.becomes("lost");
    fake.becomes("ready");
    expect(only().state).toBe("paused");
  });

  it("is over with the session", async () => {
    transfers.upload(FILE, "/srv/a.bin");
    fake.becomes("closed");
    expect(only()).toMatchObject({ state: "failed", error: "The session is over." });
    stop();
    expect(transfers.getList()).toEqual([]);
  });
});

describe("a download", () => {
  let written: Uint8Array[];
  let said: string[];
  let sink: Sink;
  beforeEach(() => {
    written = [];
    said = [];
    sink = {
      write: async (bytes) => {
        written.push(bytes);
      },
      restart: async () => {
        written = [];
        said.push("restart");
      },
      close: async () => {
        said.push("close");
      },
      abort: async () => {
        said.push("abort");
      },
    };
  });
  const here = () => concat(written);

  it("is written piece by piece, and whole when its checksum is right", async () => {
    transfers.download("a.bin", "/srv/a.bin", 100_000, sink);
    fake.last.opens({ size: 100_000, modified_ms: 7 });
    fake.last.says(CONTENT.subarray(0, 60_000));
    fake.last.says(CONTENT.subarray(60_000));
    fake.last.ends({ sha256: HEX });
    await settle();
    expect(here()).toEqual(CONTENT);
    expect(only()).toMatchObject({ state: "done", done: 100_000 });
    expect(said).toEqual(["close"]);
  });

  it("is dealt with as it comes, however little that is", async () => {
    transfers.download("a.bin", "/srv/a.bin", 100_000, sink);
    fake.last.opens({ size: 100_000, modified_ms: 7 });
    let dealt = 0;
    for (let at = 0; at < 100_000; at += 20_000) {
      fake.last.events.onData?.(CONTENT.subarray(at, at + 20_000), at, () => {
        dealt += 20_000;
      });
      await settle();
      expect(dealt).toBe(at + 20_000);
    }
    fake.last.ends({ sha256: HEX });
    await settle();
    expect(here()).toEqual(CONTENT);
    expect(only().state).toBe("done");
  });

  it("goes on with the same file after a lost link", async () => {
    transfers.download("a.bin", "/srv/a.bin", 100_000, sink);
    fake.last.opens({ size: 100_000, modified_ms: 7 });
    fake.last.says(CONTENT.subarray(0, 60_000));
    fake.last.loses();
    await settle();
    expect(only()).toMatchObject({ state: "interrupted", done: 60_000 });
    fake.becomes("ready");
    expect(fake.last.asked).toMatchObject({ offset: 60_000, modified_ms: 7 });
    fake.last.opens({ size: 100_000, from: 60_000 });
    fake.last.says(CONTENT.subarray(60_000), 60_000);
    fake.last.ends({ sha256: HEX });
    await settle();
    expect(here()).toEqual(CONTENT);
    expect(only().state).toBe("done");
  });

  it("of a folder begins anew instead", async () => {
    transfers.download("srv.tar.gz", "/srv", null, sink);
    fake.last.opens({});
    fake.last.says(CONTENT.subarray(0, 60_000));
    fake.last.loses();
    await settle();
    fake.becomes("ready");
    await settle();
    expect(said).toEqual(["restart"]);
    expect(fake.last.asked).toMatchObject({ offset: 0, archive: true });
    fake.last.opens({});
    fake.last.says(CONTENT);
    fake.last.ends({ sha256: HEX });
    await settle();
    expect(here()).toEqual(CONTENT);
    expect(only()).toMatchObject({ state: "done", size: 100_000 });
  });

  it("grants more only for what is written", async () => {
    const waiting: (() => void)[] = [];
    sink.write = () => new Promise((done) => waiting.push(done));
    transfers.download("a.bin", "/srv/a.bin", 1_000_000, sink);
    fake.last.opens({});
    let isDealt = false;
    fake.last.events.onData?.(new Uint8Array(300_000), 0, () => {
      isDealt = true;
    });
    await settle();
    expect(isDealt).toBe(false);
    waiting[0]?.();
    await settle();
    expect(isDealt).toBe(true);
  });

  it("that is not what the machine has is not kept for whole", async () => {
    transfers.download("a.bin", "/srv/a.bin", 100_000, sink);
    fake.last.opens({});
    fake.last.says(CONTENT.subarray(1));
    fake.last.ends({ sha256: HEX });
    await settle();
    expect(only().state).toBe("failed");
    expect(said).toEqual([]);
    transfers.remove(only().id);
    expect(said).toEqual(["abort"]);
  });

  it("that its user has stopped is not done", async () => {
    transfers.download("a.bin", "/srv/a.bin", 100_000, sink);
    fake.last.opens({});
    fake.last.says(CONTENT.subarray(0, 10));
    transfers.pause(only().id);
    await settle();
    expect(only().state).toBe("paused");
    expect(said).toEqual([]);
  });
});
