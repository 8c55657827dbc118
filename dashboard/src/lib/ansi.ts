/** A run of text in one style. `color` names one of the sixteen terminal colours. */
export interface Segment {
  text: string;
  color: string | null;
  bold: boolean;
  dim: boolean;
}

export interface AnsiStyle {
  color: string | null;
  bold: boolean;
  dim: boolean;
}

export const PLAIN: AnsiStyle = { color: null, bold: false, dim: false };

const COLORS = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

// CSI sequences, OSC/DCS/PM/APC strings up to their terminator, two-character escapes, and lone control characters
// (tab and newline excepted). Matched whole so that no fragment of an escape reaches the page.
const ESCAPES =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are made of control characters
  /\u001b\[([0-?]*)[ -/]*([@-~])|\u001b[\]PX^_][^\u0007\u001b]*(?:\u0007|\u001b\\)?|\u001b[ -/]*[0-~]?|[\u0000-\u0008\u000b-\u001f\u007f-\u009f]|[\u202a-\u202e\u2066-\u2069]/g;

/**
 * Splits text into styled runs. Colours and weight are kept; every other escape (cursor movement, titles,
 * hyperlinks, clipboard access) and every control or bidirectional-override character is dropped.
 */
export function parseAnsi(
  text: string,
  start: AnsiStyle = PLAIN,
): { segments: Segment[]; style: AnsiStyle } {
  const segments: Segment[] = [];
  let style = start;
  let from = 0;
  const push = (to: number) => {
    if (to > from) segments.push({ text: text.slice(from, to), ...style });
  };
  for (const match of text.matchAll(ESCAPES)) {
    push(match.index);
    from = match.index + match[0].length;
    if (match[2] === "m") style = applySgr(style, match[1] ?? "");
  }
  push(text.length);
  return { segments, style };
}

export function stripAnsi(text: string): string {
  return text.replace(ESCAPES, "");
}

function applySgr(style: AnsiStyle, parameters: string): AnsiStyle {
  const codes = parameters.split(/[;:]/).map((code) => (code === "" ? 0 : Number(code)));
  let next = style;
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i] ?? 0;
    if (code === 0) next = PLAIN;
    else if (code === 1) next = { ...next, bold: true };
    else if (code === 2) next = { ...next, dim: true };
    else if (code === 22) next = { ...next, bold: false, dim: false };
    else if (code === 39) next = { ...next, color: null };
    else if (code >= 30 && code <= 37) next = { ...next, color: COLORS[code - 30] ?? null };
    else if (code >= 90 && code <= 97) next = { ...next, color: COLORS[code - 90] ?? null };
    else if (code === 38 || code === 48) {
      // 256-colour and true-colour forms carry arguments that must not be read as codes of their own.
      i += codes[i + 1] === 5 ? 2 : codes[i + 1] === 2 ? 4 : 0;
    }
  }
  return next;
}
