import type { ITheme } from "@xterm/xterm";

// Sixteen colours for each ground; the ground itself and the text are the page's own.
const LIGHT = {
  black: "#182022",
  red: "#b3261e",
  green: "#1c7a45",
  yellow: "#8a5a00",
  blue: "#2a63b8",
  magenta: "#7a4aa0",
  cyan: "#0f6271",
  white: "#646e6e",
  brightBlack: "#4a5557",
  brightRed: "#cf3a30",
  brightGreen: "#25925a",
  brightYellow: "#a86f06",
  brightBlue: "#3b7ad6",
  brightMagenta: "#9560bd",
  brightCyan: "#167f92",
  brightWhite: "#8d9b9e",
};
const DARK = {
  black: "#1c2528",
  red: "#f2877d",
  green: "#58c088",
  yellow: "#e0ad4a",
  blue: "#86b2f2",
  magenta: "#be97e0",
  cyan: "#63bccb",
  white: "#cbd5d6",
  brightBlack: "#6b7a7e",
  brightRed: "#ffa89f",
  brightGreen: "#7fd8a6",
  brightYellow: "#f2c977",
  brightBlue: "#a9c9fa",
  brightMagenta: "#d3b4ee",
  brightCyan: "#84d0dc",
  brightWhite: "#f4f8f8",
};

/** The terminal's colours as the page's are now. */
export function terminalTheme(): ITheme {
  const color = resolver();
  const isDark = isDarkColor(color("--sunken"));
  return {
    ...(isDark ? DARK : LIGHT),
    background: color("--surface"),
    foreground: color("--ink"),
    cursor: color("--accent"),
    cursorAccent: color("--surface"),
    selectionBackground: color("--accent-soft"),
    selectionInactiveBackground: color("--idle-soft"),
    scrollbarSliderBackground: color("--line-strong"),
    scrollbarSliderHoverBackground: color("--control"),
    scrollbarSliderActiveBackground: color("--ink-3"),
  };
}

/** Colours are named once, with `light-dark()`; only a real property resolves them. */
function resolver() {
  return (name: string) => {
    const probe = document.createElement("span");
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const color = getComputedStyle(probe).color;
    probe.remove();
    return hex(color);
  };
}

/** `rgb(24, 32, 34)` -> `#182022`, which the emulator reads. */
export function hex(color: string): string {
  const parts = color.match(/\d+(\.\d+)?/g)?.slice(0, 3) ?? [];
  return `#${parts.map((part) => Math.round(Number(part)).toString(16).padStart(2, "0")).join("")}`;
}

/** Whether text on it is light. */
export function isDarkColor(color: string): boolean {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16));
  return 0.299 * r + 0.587 * g + 0.114 * b < 128;
}
