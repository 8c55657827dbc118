import { beforeEach, describe, expect, it } from "vitest";
import type { Channel, ChannelEvents } from "./channel";
import { openFiles, openProcesses } from "./requests";
import type { Phase, Tunnel } from "./session";
import type { FileAnswer } from "./wire";

/** A session whose machine is the test. */
class FakeTunnel {
  phase: Phase = "ready";
  opened: { events: ChannelEvents; sent: unknown[]; ended: boolean }[] = [];
  private listeners = new Set<() => void>();
  getState = () => ({ phase: this.phase });
  onState = (listener: () => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };
  open(_asked: unknown, events: ChannelEvents): Channel {
    const made = { events, sent: [] as unknown[], ended: false };
    this.opened.push(made);
    return {
      message: async (value: unknown) => {
        made.sent.push(value);
      },
      end: () => {
        made.ended = true;
      },
    } as unknown as Channel;
  }
  becomes(phase: Phase) {
    this.phase = phase;
    for (const listener of this.listeners) listener();
  }
  get last() {
    const made = this.opened.at(-1);
    if (!made) throw new Error("nothing was opened");
    return made;
  }
  answers(message: unknown) {
    let isDealt = false;
    this.last.events.onMessage?.(new TextEncoder().encode(JSON.stringify(message)), () => {
      isDealt = true;
    });
    expect(isDealt).toBe(true);
  }
  loses() {
    const { events } = this.last;
    this.becomes("lost");
    events.onEnd?.({ error: { code: "closed", detail: "" } }, true);
  }
}

let fake: FakeTunnel;
let tunnel: Tunnel;
beforeEach(() => {
  fake = new FakeTunnel();
  tunnel = fake as unknown as Tunnel;
});

const names = (answer: FileAnswer) =>
  answer.is === "entries" ? answer.entries.map(({ name }) => name) : [];
const part = (id: number, ...all: string[]) => ({
  id,
  part: { is: "entries", entries: all.map((name) => ({ name, kind: "file", size: 0 })) },
});

describe("requests", () => {
  it("are answered each by its own parts and reply", async () => {
    const files = openFiles(tunnel);
    const found: string[] = [];
    const list = files.ask(
      { do: "list", path: "/srv" },
      { onPart: (answer) => found.push(...names(answer)) },
    );
    const made = files.ask({ do: "make_folder", path: "/srv/x" });
    expect(fake.opened).toHaveLength(1);
    expect(fake.last.sent).toEqual([
      { id: 1, request: { do: "list", path: "/srv" } },
      { id: 2, request: { do: "make_folder", path: "/srv/x" } },
    ]);
    fake.answers(part(1, "a"));
    fake.answers({
      id: 2,
      error: { code: "already_exists", detail: "there is a folder of this name" },
    });
    fake.answers(part(1, "b"));
    fake.answers({ id: 1, reply: { is: "folder", path: "/srv", entries: 2 } });
    await expect(list).resolves.toEqual({ is: "folder", path: "/srv", entries: 2 });
    await expect(made).rejects.toMatchObject({
      code: "already_exists",
      message: "There is a folder of this name.",
    });
    expect(found).toEqual(["a", "b"]);
  });

  it("wait for the session, and after a lost link only what changes nothing is asked again", async () => {
    fake.phase = "connecting";
    const files = openFiles(tunnel);
    let found: string[] = [];
    const list = files.ask(
      { do: "list", path: "/" },
      {
        onPart: (answer) => found.push(...names(answer)),
        onRestart: () => {
          found = [];
        },
      },
    );
    expect(fake.opened).toHaveLength(0);
    fake.becomes("ready");
    const removed = files.ask({ do: "delete", path: "/x", recursive: false });
    fake.answers(part(1, "a"));
    fake.loses();
    await expect(removed).rejects.toMatchObject({ code: "closed" });
    fake.becomes("ready");
    expect(fake.last.sent).toEqual([{ id: 1, request: { do: "list", path: "/" } }]);
    fake.answers(part(1, "a", "b"));
    fake.answers({ id: 1, reply: { is: "folder", path: "/", entries: 2 } });
    await list;
    expect(found).toEqual(["a", "b"]);
  });

  it("say why the machine has no such channel", async () => {
    const processes = openProcesses(tunnel);
    const list = processes.ask({ do: "list" });
    fake.last.events.onEnd?.({ error: { code: "not_allowed", detail: "" } }, false);
    await expect(list).rejects.toMatchObject({ message: "The policy does not allow this." });
  });

  it("fail once the session is over, and are bounded", async () => {
    const files = openFiles(tunnel);
    const asked = Array.from({ length: 64 }, () => files.ask({ do: "places" }));
    await expect(files.ask({ do: "places" })).rejects.toMatchObject({ code: "too_many" });
    fake.becomes("closed");
    for (const one of asked) await expect(one).rejects.toMatchObject({ code: "closed" });
    files.close();
    expect(fake.last.ended).toBe(true);
    await expect(files.ask({ do: "places" })).rejects.toMatchObject({ code: "closed" });
  });

  it("can be given up", async () => {
    const files = openFiles(tunnel);
    const controller = new AbortController();
    const list = files.ask({ do: "list", path: "/" }, { signal: controller.signal });
    controller.abort();
    await expect(list).rejects.toMatchObject({ name: "AbortError" });
    fake.answers({ id: 1, reply: { is: "folder", path: "/", entries: 0 } });
  });
});
