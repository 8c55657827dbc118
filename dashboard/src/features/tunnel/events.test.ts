import { beforeEach, describe, expect, it } from "vitest";
import type { Channel, ChannelEvents } from "./channel";
import { EventReader } from "./events";
import type { Phase, Tunnel } from "./session";

/** A session whose machine is the test. */
class FakeTunnel {
  phase: Phase = "ready";
  asked: unknown[] = [];
  events: ChannelEvents = {};
  private listeners = new Set<() => void>();
  getState = () => ({ phase: this.phase });
  onState = (listener: () => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };
  open(asked: unknown, events: ChannelEvents): Channel {
    this.asked.push(asked);
    this.events = events;
    return { end: () => undefined } as unknown as Channel;
  }
  becomes(phase: Phase) {
    this.phase = phase;
    for (const listener of this.listeners) listener();
  }
  says(message: unknown) {
    this.events.onMessage?.(new TextEncoder().encode(JSON.stringify(message)), () => undefined);
  }
  loses() {
    this.events.onEnd?.({ error: { code: "closed", detail: "" } }, true);
    this.becomes("lost");
  }
}

let fake: FakeTunnel;
let reader: EventReader;
beforeEach(() => {
  fake = new FakeTunnel();
  reader = new EventReader(fake as unknown as Tunnel, { limit: 10, follow: true });
});

const entry = (time_ms: number) => ({ time_ms, level: "info", source: "sshd", text: "hello" });

describe("a reading of the log", () => {
  it("that was cut before anything came is a reading again, not an empty log", () => {
    fake.loses();
    expect(reader.getState().phase).toBe("lost");
    fake.becomes("ready");
    expect(reader.getState().phase).toBe("reading");
    expect(fake.asked).toHaveLength(2);
    fake.says({ is: "caught", more: false });
    expect(reader.getState().phase).toBe("following");
  });

  it("goes on behind the last entry after a lost link", () => {
    fake.says({ is: "events", events: [entry(1_000), entry(2_000)] });
    fake.says({ is: "caught", more: false });
    fake.loses();
    fake.becomes("ready");
    expect(fake.asked.at(-1)).toMatchObject({ since_ms: 2_001 });
    fake.says({ is: "events", events: [entry(3_000)] });
    fake.says({ is: "caught", more: false });
    expect(reader.getState().entries.map(({ time_ms }) => time_ms)).toEqual([1_000, 2_000, 3_000]);
  });

  it("ends with what the machine lacks", () => {
    fake.events.onEnd?.(
      { error: { code: "unsupported", detail: "this machine keeps no journal" } },
      false,
    );
    expect(reader.getState().phase).toBe("failed");
    expect(reader.getState().error).toMatchObject({ message: "This machine keeps no journal." });
  });
});
