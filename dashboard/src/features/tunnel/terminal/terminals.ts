import type { Tunnel } from "../session";
import { type ShellChoice, Terminal, type TerminalEvents } from "./terminal";

/** As many as one session shows side by side; each keeps its scrollback in the page. */
export const MAX_TERMINALS = 16;

/** The terminals of a session: those that were opened here, and those that the machine still had. */
export class Terminals {
  private list: readonly Terminal[] = [];
  private readonly listeners = new Set<() => void>();

  constructor(
    private readonly tunnel: Tunnel,
    private readonly eventsOf: (id: number) => TerminalEvents,
  ) {}

  readonly getList = () => this.list;
  readonly onList = (listener: () => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** Takes up what the machine has; answers how to let it all go again, with the shells going on. */
  start(): () => void {
    const stop = this.tunnel.onState(() => this.takeFound());
    this.takeFound();
    return () => {
      stop();
      for (const terminal of this.list) terminal.release();
      this.set([]);
    };
  }

  /** Opens one more, in a session that is ready. */
  add(label: string, asked: ShellChoice): Terminal {
    return this.take(this.tunnel.reserve(), label, asked);
  }

  close(terminal: Terminal) {
    terminal.close();
    this.set(this.list.filter((other) => other !== terminal));
  }

  /** How many shells would end with the session. */
  get running(): number {
    return this.list.filter((terminal) => terminal.getState().phase !== "ended").length;
  }

  private takeFound() {
    if (this.tunnel.getState().phase !== "ready") return;
    const known = new Set(this.list.map(({ id }) => id));
    for (const { channel, label } of this.tunnel.foundTerminals) {
      if (known.has(channel) || this.list.length >= MAX_TERMINALS) continue;
      this.take(channel, label || "shell", undefined);
    }
  }

  private take(id: number, label: string, asked: ShellChoice | undefined): Terminal {
    const terminal = new Terminal(id, this.tunnel, label, asked, this.eventsOf(id));
    this.set([...this.list, terminal]);
    return terminal;
  }

  private set(list: readonly Terminal[]) {
    this.list = list;
    for (const notify of this.listeners) notify();
  }
}
