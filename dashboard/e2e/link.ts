// The way between a page and the server, which can be cut as a cable is.
import { connect, createServer, type Server, type Socket } from "node:net";

/** Bytes on their way through a link. */
interface Passed {
  /** From pages to the server. */
  sent: number;
  /** From the server to pages. */
  received: number;
}

/** A port of its own that leads to the server. What is cut breaks in the middle of whatever was being said. */
export class Link {
  readonly passed: Passed = { sent: 0, received: 0 };
  private readonly sockets = new Set<Socket>();
  private isDown = false;
  private watch: ((passed: Passed) => void) | null = null;

  private constructor(
    private readonly listener: Server,
    private readonly port: number,
  ) {}

  static async open(to: string): Promise<Link> {
    const target = new URL(to);
    const listener = createServer({ allowHalfOpen: true, noDelay: true });
    await new Promise<void>((listening) => listener.listen(0, "127.0.0.1", listening));
    const address = listener.address();
    if (typeof address !== "object" || !address) throw new Error("no port");
    const link = new Link(listener, address.port);
    listener.on("connection", (page) => {
      if (link.isDown) return page.resetAndDestroy();
      const server = connect({
        ...{ host: target.hostname, port: Number(target.port) },
        ...{ allowHalfOpen: true, noDelay: true },
      });
      link.join(page, server, "sent");
      link.join(server, page, "received");
    });
    return link;
  }

  /** What to load the dashboard from. */
  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Breaks what is there; nothing comes through until it is mended. */
  cut() {
    this.isDown = true;
    for (const socket of this.sockets) socket.resetAndDestroy();
  }

  /** Cuts as soon as so many bytes more have gone one way, and says when. */
  async cutAfter(way: keyof Passed, bytes: number): Promise<void> {
    const from = this.passed[way];
    await new Promise<void>((done) => {
      this.watch = (passed) => {
        if (passed[way] - from < bytes) return;
        this.watch = null;
        this.cut();
        done();
      };
    });
  }

  mend() {
    this.isDown = false;
  }

  async close() {
    this.cut();
    await new Promise((closed) => this.listener.close(closed));
  }

  private join(from: Socket, to: Socket, way: keyof Passed) {
    this.sockets.add(from);
    from.on("data", (bytes) => {
      this.passed[way] += bytes.length;
      this.watch?.(this.passed);
    });
    from.pipe(to);
    from.on("error", () => to.resetAndDestroy());
    from.on("close", () => {
      this.sockets.delete(from);
      if (!from.readableEnded) to.destroy();
    });
  }
}
