import type { FontStep } from "./preferences";

// All keys go to the shell but these.
export type Chord = "leave" | "search" | "copy" | "paste" | FontStep;

type Keys = Pick<KeyboardEvent, "ctrlKey" | "metaKey" | "shiftKey" | "altKey" | "code" | "key">;

/** What a combination of keys does with the terminal itself; null when it is the shell's. */
export function chordOf({ ctrlKey, metaKey, shiftKey, altKey, code, key }: Keys): Chord | null {
  if (altKey) return null;
  if (metaKey && !ctrlKey) {
    // Command does nothing in a shell, so on a Mac it is the page's.
    if (code === "KeyC") return "copy";
    if (code === "KeyV") return "paste";
    if (code === "KeyF") return "search";
  }
  if (ctrlKey && shiftKey) {
    if (code === "KeyX") return "leave";
    if (code === "KeyF") return "search";
    if (code === "KeyC") return "copy";
    if (code === "KeyV") return "paste";
  }
  if (ctrlKey !== metaKey) {
    if (key === "+" || key === "=") return "larger";
    if (code === "Minus" || code === "NumpadSubtract") return shiftKey ? null : "smaller";
    if (code === "Digit0" && !shiftKey) return "ordinary";
  }
  return null;
}

/** What the page says of them. */
export const KEYS: readonly { keys: string; does: string }[] = [
  { keys: "Ctrl+Shift+X", does: "Leave the terminal: the keyboard goes to its tab" },
  { keys: "Ctrl+Shift+F", does: "Search" },
  { keys: "Ctrl+Shift+C", does: "Copy" },
  { keys: "Ctrl+Shift+V", does: "Paste" },
  { keys: "Ctrl+Plus, Ctrl+Minus, Ctrl+0", does: "Larger, smaller, ordinary text" },
];
