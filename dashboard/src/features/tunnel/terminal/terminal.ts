import { watchColors } from "../../../lib/theme";
import type { Channel, ChannelEvents } from "../channel";
import { failure } from "../failure";
import type { Tunnel } from "../session";
import type { ChannelEnd, OpenChannel, Opened, RunContext } from "../wire";
import { chordOf } from "./keys";
import { type FontStep, readFontSize, readForReader, stepFont, writeFontSize } from "./preferences";
import { terminalTheme } from "./theme";
import type { Emulator } from "./xterm";

/** What a terminal is opened with; absent: the machine has it already. */
export interface ShellChoice {
  shell: string | undefined;
  context: RunContext;
}

export interface TerminalState {
  label: string;
  /** What the shell calls its window. */
  title: string;
  phase: "opening" | "open" | "lost" | "ended";
  end: ChannelEnd | null;
  /** So many bytes of output are no longer kept at the machine and are not shown. */
  missedBytes: number;
  /** The machine has no terminals: its shell takes whole lines. */
  takesLines: boolean;
}

/** What a terminal tells the page. */
export interface TerminalEvents {
  /** The keys that leave it were pressed. */
  onLeave: () => void;
  onSearch: () => void;
  onLink: (address: string) => void;
  /** More was typed or pasted than is kept for a link that is slow or lost. */
  onTooMuch: () => void;
}

const MAX_TITLE_CHARS = 60;

/** A terminal: the emulator on the screen, and its shell at the machine. It outlives what shows it. */
export class Terminal {
  private state: TerminalState;
  private emulator: Emulator | null = null;
  private channel: Channel | null = null;
  private host: HTMLElement | null = null;
  private stopWebgl: (() => void) | null = null;
  private afterFont: (() => void) | null = null;
  private stopColors: (() => void) | null = null;
  private isDisposed = false;
  /** Of the size: one message is on its way, and another one waits to be the next. */
  private isResizing = false;
  private mustResize = false;
  private readonly listeners = new Set<() => void>();

  constructor(
    /** The number of its channel. */
    readonly id: number,
    private readonly tunnel: Tunnel,
    label: string,
    readonly asked: ShellChoice | undefined,
    private readonly events: TerminalEvents,
  ) {
    this.state = {
      label,
      title: "",
      phase: "opening",
      end: null,
      missedBytes: 0,
      takesLines: false,
    };
  }

  readonly getState = () => this.state;
  readonly onState = (listener: () => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  get search() {
    return this.emulator?.search ?? null;
  }

  /** Puts it into an element; the first time it also opens its shell, which needs to know how large it is. */
  async mount(host: HTMLElement) {
    this.host = host;
    if (!this.emulator) {
      const { makeEmulator } = await import("./xterm");
      const emulator = await makeEmulator(
        {
          ...{ fontSize: readFontSize(), theme: terminalTheme() },
          screenReaderMode: readForReader(),
        },
        this.events.onLink,
      );
      // Another mount was faster, or nobody wants it any more.
      if (this.isDisposed || this.emulator) return emulator.xterm.dispose();
      this.emulator = emulator;
      this.wire(emulator);
    }
    const element = this.emulator.xterm.element;
    if (element) this.host.append(element);
    else this.emulator.xterm.open(this.host);
    this.fit();
    this.open();
  }

  /** Whether it is what the page shows. */
  show(isShown: boolean) {
    const xterm = this.emulator?.xterm;
    if (isShown && xterm?.element && !this.stopWebgl) {
      const given = import("./xterm").then(({ drawWithWebgl, keepLettersApart }) => {
        this.afterFont = () => keepLettersApart(xterm);
        const stop = drawWithWebgl(xterm);
        this.fit();
        return stop;
      });
      this.stopWebgl = () => given.then((stop) => stop());
    } else if (!isShown) {
      this.stopWebgl?.();
      this.stopWebgl = null;
    }
    if (isShown) this.fit();
  }

  focus() {
    this.emulator?.xterm.focus();
  }

  /** As many columns and rows as there is room for. */
  fit() {
    if (!this.emulator || !this.host || this.host.clientWidth < 20 || this.host.clientHeight < 20) {
      return;
    }
    this.emulator.fit.fit();
  }

  resizeFont(step: FontStep) {
    const xterm = this.emulator?.xterm;
    if (!xterm) return;
    const size = stepFont(xterm.options.fontSize ?? readFontSize(), step);
    writeFontSize(size);
    xterm.options.fontSize = size;
    if (this.stopWebgl) this.afterFont?.();
    this.fit();
  }

  setScreenReader(isOn: boolean) {
    if (this.emulator) this.emulator.xterm.options.screenReaderMode = isOn;
  }

  copy() {
    if (!this.emulator?.xterm.hasSelection()) return;
    this.focus();
    // The emulator answers with its own selection, also where the page may not write to the clipboard by itself.
    document.execCommand("copy");
  }

  /** Only where the page may read the clipboard; the browser's own way to paste works everywhere. */
  async paste() {
    this.emulator?.xterm.paste(await navigator.clipboard.readText());
    this.focus();
  }

  selectAll() {
    this.emulator?.xterm.selectAll();
  }

  clear() {
    this.emulator?.xterm.clear();
    this.focus();
  }

  /** Ends its shell. */
  close() {
    this.channel?.end();
    this.release();
  }

  /** Takes it off the screen; the shell goes on at the machine. */
  release() {
    this.isDisposed = true;
    this.stopColors?.();
    this.stopWebgl?.();
    this.emulator?.xterm.dispose();
    this.emulator = null;
  }

  private wire({ xterm }: Emulator) {
    const encoder = new TextEncoder();
    const type = (bytes: Uint8Array) => {
      if (this.channel?.type(bytes) === false && this.state.phase !== "ended") {
        this.events.onTooMuch();
      }
    };
    xterm.onData((text) => type(encoder.encode(text)));
    xterm.onBinary((text) => type(Uint8Array.from(text, (char) => char.charCodeAt(0))));
    xterm.onResize(() => this.tellSize());
    xterm.onTitleChange((title) => this.set({ title: title.slice(0, MAX_TITLE_CHARS) }));
    xterm.attachCustomKeyEventHandler((event) => {
      const chord = chordOf(event);
      if (!chord) return true;
      if (event.type === "keydown") {
        if (chord === "leave") this.events.onLeave();
        else if (chord === "search") this.events.onSearch();
        else if (chord === "copy") this.copy();
        else if (chord !== "paste") this.resizeFont(chord);
      }
      // To paste is the browser's own; it asks nobody for it.
      if (chord !== "paste") event.preventDefault();
      return false;
    });
    this.stopColors = watchColors(() => {
      // Asked for while the page still changes them, some would stay as they were.
      requestAnimationFrame(() => {
        xterm.options.theme = terminalTheme();
      });
    });
  }

  private open() {
    if (this.channel || !this.emulator) return;
    const { xterm } = this.emulator;
    const events: ChannelEvents = {
      onOpened: (opened, isAgain) => this.opened(opened, isAgain),
      onData: (bytes, offset, dealt) => {
        this.note(offset, bytes.length);
        xterm.write(bytes, dealt);
      },
      onEnd: (end, isLinkLost) => this.ended(end, isLinkLost),
    };
    if (!this.asked) {
      this.channel = this.tunnel.adopt(this.id, events);
      return;
    }
    const asked: OpenChannel = {
      kind: "terminal",
      ...this.asked,
      columns: xterm.cols,
      rows: xterm.rows,
    };
    this.channel = this.tunnel.open(asked, events, { lasting: true, id: this.id });
  }

  /** Up to where the output is on the screen. */
  private shown = 0;

  private note(offset: number, length: number) {
    if (offset > this.shown)
      this.set({ missedBytes: this.state.missedBytes + offset - this.shown });
    this.shown = offset + length;
  }

  private opened({ from, terminal }: Opened, isAgain: boolean) {
    this.set({ phase: "open", takesLines: terminal === "lines" });
    if (from > this.shown) {
      // What is on the screen does not lead to what comes.
      this.emulator?.xterm.reset();
      this.note(from, 0);
    }
    if (isAgain) this.tellSize();
  }

  private ended(end: ChannelEnd, isLinkLost: boolean) {
    const detail = "The machine no longer has this shell.";
    const why: ChannelEnd = isLinkLost ? { error: { code: "closed", detail } } : end;
    this.set({ phase: "ended", end: why });
    const xterm = this.emulator?.xterm;
    if (!xterm) return;
    xterm.options.cursorBlink = false;
    xterm.options.disableStdin = true;
  }

  private tellSize() {
    const xterm = this.emulator?.xterm;
    if (!this.channel || !xterm || this.state.phase === "ended") return;
    this.mustResize = true;
    if (this.isResizing) return;
    this.isResizing = true;
    this.mustResize = false;
    this.channel
      .message({ type: "resize", columns: xterm.cols, rows: xterm.rows })
      .catch(() => undefined)
      .finally(() => {
        this.isResizing = false;
        if (this.mustResize) this.tellSize();
      });
  }

  private set(change: Partial<TerminalState>) {
    this.state = { ...this.state, ...change };
    for (const notify of this.listeners) notify();
  }
}

/** How a shell ended, in words. */
export function endSentence({ error, exit_code }: ChannelEnd): string {
  if (error) return failure(error).message;
  if (exit_code === undefined) return "The shell has ended.";
  return exit_code === 0 ? "The shell has ended." : `The shell has ended with code ${exit_code}.`;
}
