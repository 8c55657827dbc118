import { type AnsiStyle, PLAIN, parseAnsi, type Segment } from "./ansi";

/** A piece of output as it arrives; `seq` counts from 1 over both streams. */
export interface OutputPiece {
  seq: number;
  stream: "stdout" | "stderr";
  text: string;
}

export interface OutputLine {
  stream: "stdout" | "stderr";
  segments: Segment[];
}

/** Lines kept for the screen. The server keeps the complete output; the page says when it shows only the end. */
const MAX_LINES = 50_000;
/** A line without an end is broken here, so that one row never carries megabytes. */
const MAX_LINE_CHARS = 2_000;

type StreamState = { style: AnsiStyle; pending: string; line: number | null };

/** A command's output as lines to draw: takes pieces in any grouping, each once, in the order of their numbers. */
export class OutputLog {
  readonly lines: OutputLine[] = [];
  lastSeq = 0;
  /** Lines dropped from the front to stay within bounds. */
  dropped = 0;
  version = 0;
  complete = false;
  private readonly streams: Record<"stdout" | "stderr", StreamState> = {
    stdout: { style: PLAIN, pending: "", line: null },
    stderr: { style: PLAIN, pending: "", line: null },
  };
  private readonly listeners = new Set<() => void>();

  readonly subscribe = (listener: () => void) => {
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
    };
  };

  readonly getVersion = () => this.version;

  append(pieces: readonly OutputPiece[]) {
    let changed = false;
    for (const { seq, stream, text } of pieces) {
      if (seq <= this.lastSeq) continue;
      this.lastSeq = seq;
      this.write(stream, text);
      changed = true;
    }
    if (changed) this.changed();
  }

  finish() {
    this.complete = true;
    this.changed();
  }

  private write(stream: "stdout" | "stderr", text: string) {
    const state = this.streams[stream];
    // An escape sequence cut by a piece's edge is finished by the next one.
    const input = state.pending + text;
    const cut = incompleteEscape(input);
    state.pending = input.slice(cut);
    const parts = input.slice(0, cut).replaceAll("\r\n", "\n").split("\n");
    parts.forEach((part, index) => {
      if (index > 0) state.line = null;
      if (part === "" && index === parts.length - 1) return;
      // A carriage return starts the row over: of a progress display only the last state is kept.
      const rewrite = part.lastIndexOf("\r");
      if (rewrite !== -1) this.clearRow(state);
      const { segments, style } = parseAnsi(part.slice(rewrite + 1), state.style);
      state.style = style;
      this.extend(stream, state, segments);
    });
    this.trim();
  }

  private extend(stream: "stdout" | "stderr", state: StreamState, segments: Segment[]) {
    let line = state.line === null ? undefined : this.lines[state.line - this.dropped];
    // The other stream wrote in between: continue on a new row, as a terminal would show it.
    if (!line || line !== this.lines.at(-1)) line = this.open(stream, state);
    let length = line.segments.reduce((sum, segment) => sum + segment.text.length, 0);
    for (const segment of segments) {
      let rest = segment.text;
      while (rest.length > 0) {
        if (length >= MAX_LINE_CHARS) {
          line = this.open(stream, state);
          length = 0;
        }
        const piece = rest.slice(0, MAX_LINE_CHARS - length);
        line.segments.push({ ...segment, text: piece });
        length += piece.length;
        rest = rest.slice(piece.length);
      }
    }
  }

  private clearRow(state: StreamState) {
    const line = state.line === null ? undefined : this.lines[state.line - this.dropped];
    if (line) line.segments = [];
  }

  private open(stream: "stdout" | "stderr", state: StreamState): OutputLine {
    const line: OutputLine = { stream, segments: [] };
    this.lines.push(line);
    state.line = this.dropped + this.lines.length - 1;
    return line;
  }

  private trim() {
    const excess = this.lines.length - MAX_LINES;
    if (excess <= 0) return;
    // A tenth more than needed: dropping one by one would move the whole array for every line.
    const count = Math.min(this.lines.length - 1, excess + MAX_LINES / 10);
    this.lines.splice(0, count);
    this.dropped += count;
  }

  private changed() {
    this.version += 1;
    for (const listener of this.listeners) listener();
  }
}

/** Where a sequence starts that the text ends in the middle of; the text's length when there is none. */
function incompleteEscape(text: string): number {
  // May be the first half of a Windows line end.
  if (text.endsWith("\r")) return text.length - 1;
  const start = text.lastIndexOf("\u001b");
  if (start === -1 || text.length - start > 256) return text.length;
  const tail = text.slice(start);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are made of control characters
  return /^\u001b(?:\[[0-?]*[ -/]*)?$/.test(tail) ? start : text.length;
}
