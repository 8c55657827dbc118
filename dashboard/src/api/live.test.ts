import { beforeEach, describe, expect, it, type Mock, vi } from "vitest";
import { ApiError } from "../lib/problem";
import { type LiveConnection, type LiveEvents, LiveLink, type SubscriptionMessage } from "./live";

class FakeSocket implements LiveConnection {
  sent: { op: string; sub: number; topic?: { after_seq?: number } }[] = [];
  closed = false;
  onmessage: LiveConnection["onmessage"] = null;
  onclose: LiveConnection["onclose"] = null;

  send(data: string) {
    this.sent.push(JSON.parse(data));
  }
  close() {
    this.closed = true;
  }
  receive(message: unknown) {
    const data = typeof message === "string" ? message : JSON.stringify(message);
    this.onmessage?.call(this as unknown as WebSocket, { data } as MessageEvent);
  }
  hello() {
    this.receive({ type: "hello", server_time: "2026-03-12T10:00:00Z" });
  }
  end(code = 1006) {
    this.onclose?.call(this as unknown as WebSocket, { code } as CloseEvent);
  }
}

let sockets: FakeSocket[];
let timers: { run: () => void; delayMs: number; cleared: boolean }[];
let tickets: () => Promise<string>;
let events: { [Name in keyof LiveEvents]: Mock<LiveEvents[Name]> };
let link: LiveLink;

const settle = () => new Promise<void>((resolve) => queueMicrotask(() => queueMicrotask(resolve)));
const socket = () => sockets.at(-1) as FakeSocket;
async function runTimer() {
  const timer = timers.findLast(({ cleared }) => !cleared);
  if (!timer) throw new Error("no timer is set");
  timer.cleared = true;
  timer.run();
  await settle();
}
async function goLive() {
  link.start();
  await settle();
  socket().hello();
}

beforeEach(() => {
  sockets = [];
  timers = [];
  tickets = async () => "ticket";
  events = { onInvalidate: vi.fn(), onReconnect: vi.fn(), onSignedOut: vi.fn() };
  link = new LiveLink(
    {
      ticket: () => tickets(),
      open: () => {
        sockets.push(new FakeSocket());
        return socket();
      },
      setTimer: (run, delayMs) => timers.push({ run, delayMs, cleared: false }) - 1,
      clearTimer: (timer) => {
        const entry = timers[timer];
        if (entry) entry.cleared = true;
      },
      random: () => 1,
    },
    events,
  );
});

describe("LiveLink", () => {
  it("is live once the server has said hello", async () => {
    link.start();
    expect(link.getStatus()).toBe("connecting");
    await settle();
    expect(link.getStatus()).toBe("connecting");
    socket().hello();
    expect(link.getStatus()).toBe("live");
    expect(events.onReconnect).not.toHaveBeenCalled();
  });

  it("passes invalidations on and ignores what it does not know", async () => {
    await goLive();
    socket().receive("not json");
    socket().receive({ type: "weather", sub: 99 });
    socket().receive({ type: "invalidate", kind: "agent", id: "a1" });
    expect(events.onInvalidate).toHaveBeenCalledExactlyOnceWith({
      type: "invalidate",
      kind: "agent",
      id: "a1",
    });
  });

  it("subscribes at once when live, and at hello otherwise", async () => {
    const early = vi.fn();
    link.subscribe(() => ({ kind: "agent_metrics", agent_id: "a" }), early);
    await goLive();
    expect(socket().sent).toEqual([
      { op: "subscribe", sub: 1, topic: { kind: "agent_metrics", agent_id: "a" } },
    ]);
    const stop = link.subscribe(() => ({ kind: "agent_metrics", agent_id: "b" }), vi.fn());
    stop();
    expect(
      socket()
        .sent.slice(1)
        .map(({ op, sub }) => [op, sub]),
    ).toEqual([
      ["subscribe", 2],
      ["unsubscribe", 2],
    ]);
    socket().receive({ type: "metrics", sub: 1, agent_id: "a", sample: {} });
    expect(early).toHaveBeenCalledOnce();
  });

  it("comes back after a loss, asks for what was missed, and resumes streams where they were", async () => {
    let seen = 0;
    link.subscribe(
      () => ({ kind: "command_output", command_id: "c", after_seq: seen }),
      (message: SubscriptionMessage) => {
        if (message.type === "output") seen = message.seq;
      },
    );
    await goLive();
    socket().receive({
      type: "output",
      sub: 1,
      command_id: "c",
      seq: 7,
      stream: "stdout",
      text: "",
    });
    socket().end();
    expect(link.getStatus()).toBe("lost");
    await runTimer();
    expect(link.getStatus()).toBe("lost");
    socket().hello();
    expect(link.getStatus()).toBe("live");
    expect(events.onReconnect).toHaveBeenCalledOnce();
    expect(socket().sent[0]?.topic?.after_seq).toBe(7);
  });

  it("waits longer after every failure, within bounds, and starts over once it was live", async () => {
    await goLive();
    for (let n = 0; n < 12; n++) {
      socket().end();
      await runTimer();
    }
    const delays = timers.map(({ delayMs }) => delayMs);
    expect(delays.slice(0, 4)).toEqual([500, 1000, 2000, 4000]);
    expect(Math.max(...delays)).toBe(20_000);
    socket().hello();
    socket().end();
    expect(timers.at(-1)?.delayMs).toBe(500);
  });

  it("tries again when no ticket can be had", async () => {
    tickets = async () => {
      throw new TypeError("fetch failed");
    };
    link.start();
    await settle();
    expect(link.getStatus()).toBe("lost");
    tickets = async () => "ticket";
    link.retryNow();
    await settle();
    socket().hello();
    expect(link.getStatus()).toBe("live");
  });

  it("stops for good when the session is revoked, by close code or by refused ticket", async () => {
    await goLive();
    socket().end(4401);
    expect(link.getStatus()).toBe("signed_out");
    expect(events.onSignedOut).toHaveBeenCalledOnce();
    expect(timers).toEqual([]);

    tickets = async () => {
      throw new ApiError({ status: 401, code: "UNAUTHENTICATED", detail: "" });
    };
    link.start();
    await settle();
    expect(link.getStatus()).toBe("signed_out");
    expect(events.onSignedOut).toHaveBeenCalledTimes(2);
  });

  it("takes nothing from a socket it has given up", async () => {
    await goLive();
    const former = socket();
    link.stop();
    expect(former.closed).toBe(true);
    former.receive({ type: "invalidate", kind: "agent", id: null });
    former.end();
    expect(events.onInvalidate).not.toHaveBeenCalled();
    expect(link.getStatus()).toBe("idle");
    expect(timers).toEqual([]);
  });
});
