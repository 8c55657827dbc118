// The text editor with its parts; loaded when the first file is edited.
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import {
  bracketMatching,
  HighlightStyle,
  indentOnInput,
  StreamLanguage,
  type StreamParser,
  syntaxHighlighting,
} from "@codemirror/language";
import { highlightSelectionMatches, search, searchKeymap } from "@codemirror/search";
import { Compartment, EditorState } from "@codemirror/state";
import {
  drawSelection,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  keymap,
  lineNumbers,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";

export interface TextEditor {
  text: () => string;
  setText: (text: string) => void;
  destroy: () => void;
}

/** What files are written in, by the end of their names or the whole of them. */
const LANGUAGES: readonly { names: RegExp; load: () => Promise<StreamParser<unknown>> }[] = [
  {
    names: /\.(sh|bash|zsh|ksh)$|^\.?(bashrc|profile|zshrc|bash_profile)$/i,
    load: async () => (await import("@codemirror/legacy-modes/mode/shell")).shell,
  },
  {
    names: /\.(ps1|psm1|psd1)$/i,
    load: async () => (await import("@codemirror/legacy-modes/mode/powershell")).powerShell,
  },
  {
    names: /\.(ya?ml)$/i,
    load: async () => (await import("@codemirror/legacy-modes/mode/yaml")).yaml,
  },
  {
    names: /\.toml$/i,
    load: async () => (await import("@codemirror/legacy-modes/mode/toml")).toml,
  },
  {
    names: /\.(json|js|ts)$/i,
    load: async () => (await import("@codemirror/legacy-modes/mode/javascript")).json,
  },
  {
    names: /\.(xml|html?|plist|config|csproj)$/i,
    load: async () => (await import("@codemirror/legacy-modes/mode/xml")).xml,
  },
  {
    names: /\.py$/i,
    load: async () => (await import("@codemirror/legacy-modes/mode/python")).python,
  },
  {
    names: /nginx.*\.conf$/i,
    load: async () => (await import("@codemirror/legacy-modes/mode/nginx")).nginx,
  },
  {
    names:
      /\.(ini|cfg|conf|cnf|properties|env|service|timer|socket|mount|desktop|reg|inf)$|^(hosts|fstab)$/i,
    load: async () => (await import("@codemirror/legacy-modes/mode/properties")).properties,
  },
];

const theme = EditorView.theme({
  "&": { height: "100%", backgroundColor: "var(--surface)", color: "var(--ink)" },
  // Around all of it, by what it stands in.
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--font-mono)", fontSize: "13px", lineHeight: "1.5" },
  ".cm-content": { caretColor: "var(--accent)" },
  ".cm-cursor, .cm-dropCursor": { borderLeftColor: "var(--accent)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground":
    { backgroundColor: "var(--accent-soft)" },
  ".cm-gutters": {
    backgroundColor: "var(--sunken)",
    color: "var(--ink-3)",
    borderRight: "1px solid var(--line)",
  },
  ".cm-activeLine": { backgroundColor: "color-mix(in srgb, var(--hover) 60%, transparent)" },
  ".cm-activeLineGutter": { backgroundColor: "var(--hover)", color: "var(--ink-2)" },
  ".cm-panels": { backgroundColor: "var(--raised)", color: "var(--ink)" },
  ".cm-panels.cm-panels-bottom": { borderTop: "1px solid var(--line)" },
  ".cm-searchMatch": { backgroundColor: "var(--warn-soft)" },
  ".cm-searchMatch.cm-searchMatch-selected": { backgroundColor: "var(--accent-soft)" },
  ".cm-textfield": { backgroundColor: "var(--surface)", border: "1px solid var(--control)" },
  ".cm-button": {
    backgroundImage: "none",
    backgroundColor: "var(--surface)",
    border: "1px solid var(--line-strong)",
  },
});

const colors = HighlightStyle.define([
  { tag: [tags.comment, tags.meta], color: "var(--ink-3)" },
  { tag: [tags.keyword, tags.tagName, tags.operatorKeyword], color: "var(--series-memory)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--ok)" },
  { tag: [tags.number, tags.bool, tags.null, tags.atom], color: "var(--series-disk)" },
  {
    tag: [tags.propertyName, tags.attributeName, tags.definition(tags.variableName)],
    color: "var(--series-rx)",
  },
  { tag: [tags.variableName, tags.typeName], color: "var(--accent)" },
  { tag: tags.heading, color: "var(--accent)", fontWeight: "500" },
]);

/** How lines end where all end alike; else what is odd stays in the lines, so that nothing changes unasked. */
function lineEnd(text: string): string {
  return /\r\n/.test(text) && !/(^|[^\r])\n/.test(text) ? "\r\n" : "\n";
}

export function makeEditor(
  host: HTMLElement,
  text: string,
  name: string,
  { onChange, onSave }: { onChange: () => void; onSave: () => void },
): TextEditor {
  const language = new Compartment();
  const stateOf = (doc: string) =>
    EditorState.create({
      doc,
      extensions: [
        lineNumbers(),
        highlightActiveLine(),
        highlightActiveLineGutter(),
        drawSelection(),
        history(),
        indentOnInput(),
        bracketMatching(),
        search(),
        highlightSelectionMatches(),
        syntaxHighlighting(colors),
        EditorState.lineSeparator.of(lineEnd(doc)),
        language.of([]),
        theme,
        EditorView.contentAttributes.of({
          ...{ "aria-label": `Text of ${name}`, spellcheck: "false", tabindex: "0" },
        }),
        keymap.of([
          {
            key: "Mod-s",
            preventDefault: true,
            run: () => {
              onSave();
              return true;
            },
          },
          // Ctrl+M, of the ordinary keys, lets Tab leave the text.
          indentWithTab,
          ...searchKeymap,
          ...historyKeymap,
          ...defaultKeymap,
        ]),
        EditorView.updateListener.of(({ docChanged }) => {
          if (docChanged) onChange();
        }),
      ],
    });
  const view = new EditorView({ state: stateOf(text), parent: host });
  const colour = () =>
    LANGUAGES.find(({ names }) => names.test(name))
      ?.load()
      .then((parser) =>
        view.dispatch({ effects: language.reconfigure(StreamLanguage.define(parser)) }),
      )
      // Without colours the text is the same.
      .catch(() => undefined);
  colour();
  view.focus();
  return {
    text: () => view.state.sliceDoc(),
    setText: (next) => {
      view.setState(stateOf(next));
      colour();
    },
    destroy: () => view.destroy(),
  };
}
