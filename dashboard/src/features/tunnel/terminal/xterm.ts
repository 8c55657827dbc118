// The terminal emulator with its parts; loaded when the first terminal opens.
import "@fontsource/ibm-plex-mono/latin-600.css";
import "@fontsource/ibm-plex-mono/latin-ext-400.css";
import "@xterm/xterm/css/xterm.css";
import { FitAddon } from "@xterm/addon-fit";
import { SearchAddon } from "@xterm/addon-search";
import { Unicode11Addon } from "@xterm/addon-unicode11";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { WebglAddon } from "@xterm/addon-webgl";
import { type ITerminalOptions, Terminal as Xterm } from "@xterm/xterm";

export type { Xterm };

const SCROLLBACK_LINES = 10_000;
const FONT = '"IBM Plex Mono", ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace';

export interface Emulator {
  xterm: Xterm;
  fit: FitAddon;
  search: SearchAddon;
}

/** A link was clicked; `text` says where it stands when it is not the address itself. */
export type OnLink = (address: string) => void;

export async function makeEmulator(options: ITerminalOptions, onLink: OnLink): Promise<Emulator> {
  const size = `${options.fontSize ?? 14}px`;
  // What is measured before the font is there has the wrong width for good.
  await Promise.all(
    [`${size} "IBM Plex Mono"`, `600 ${size} "IBM Plex Mono"`].map((font) =>
      document.fonts.load(font).catch(() => []),
    ),
  );
  const follow = (event: MouseEvent, address: string) => {
    event.preventDefault();
    onLink(address);
  };
  const xterm = new Xterm({
    allowProposedApi: true,
    cursorBlink: true,
    customGlyphs: true,
    fontFamily: FONT,
    fontWeight: 400,
    fontWeightBold: 600,
    linkHandler: { activate: follow },
    macOptionIsMeta: true,
    // Whatever colours a program chooses, its text can be read.
    minimumContrastRatio: 4.5,
    rescaleOverlappingGlyphs: true,
    scrollback: SCROLLBACK_LINES,
    ...options,
  });
  const fit = new FitAddon();
  const search = new SearchAddon();
  xterm.loadAddon(fit);
  xterm.loadAddon(search);
  xterm.loadAddon(new WebLinksAddon(follow));
  xterm.loadAddon(new Unicode11Addon());
  xterm.unicode.activeVersion = "11";
  return { xterm, fit, search };
}

/** Width of IBM Plex Mono's letters, of their size. */
const ADVANCE = 0.6;

/** The graphics card draws letters at whole pixels, and narrower than they are rather than wider; this takes it back. */
export function keepLettersApart(xterm: Xterm) {
  const width = (xterm.options.fontSize ?? 0) * ADVANCE * devicePixelRatio;
  xterm.options.letterSpacing = width % 1 >= 0.5 ? 1 : 0;
}

/** Draws with the graphics card where there is one to be had; answers how to stop that. */
export function drawWithWebgl(xterm: Xterm): () => void {
  let webgl: WebglAddon | null = null;
  const stop = () => {
    webgl?.dispose();
    webgl = null;
    xterm.options.letterSpacing = 0;
  };
  try {
    webgl = new WebglAddon();
    // The browser takes it back when too many pages have one; elements are drawn then.
    webgl.onContextLoss(stop);
    xterm.loadAddon(webgl);
    keepLettersApart(xterm);
  } catch {
    stop();
  }
  return stop;
}
