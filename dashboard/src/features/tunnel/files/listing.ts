import type { Sort } from "../../../ui/grid";
import type { Files } from "../requests";
import type { Entry, FileAnswer, FileRequest } from "../wire";

export interface Folder {
  /** As the machine writes it. */
  path: string;
  entries: Entry[];
}

/** All that is in a folder; `onCount` hears how much has come so far. */
export async function listFolder(
  files: Files,
  path: string,
  signal: AbortSignal,
  onCount: (count: number) => void,
): Promise<Folder> {
  let entries: Entry[] = [];
  const reply = await files.ask(
    { do: "list", path },
    {
      signal,
      onPart: (part) => {
        if (part.is !== "entries") return;
        for (const entry of part.entries) entries.push(entry);
        onCount(entries.length);
      },
      onRestart: () => {
        entries = [];
      },
    },
  );
  return { path: reply.is === "folder" ? reply.path : path, entries };
}

/** Whether there is a folder at the other end of a link. */
export async function leadsToFolder(files: Files, path: string): Promise<boolean> {
  const enough = new AbortController();
  let isFolder = false;
  try {
    await files.ask(
      { do: "list", path },
      {
        signal: enough.signal,
        onPart: () => {
          isFolder = true;
          enough.abort();
        },
      },
    );
    return true;
  } catch {
    return isFolder;
  }
}

/** Asks for something that is answered by a word that it is done. */
export async function change(files: Files, request: FileRequest): Promise<FileAnswer> {
  return files.ask(request);
}

/** With so many the order of numbers in names is left out: to compare them takes longer than anyone waits. */
const MOST_COMPARED = 5_000;
const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
const KIND_ORDER: Record<Entry["kind"], number> = { folder: 0, link: 1, file: 2, other: 3 };

/** In order, folders before the rest; what has no value stands last. */
export function sortEntries(entries: readonly Entry[], { by, isDescending }: Sort): Entry[] {
  const sign = isDescending ? -1 : 1;
  const isMany = entries.length > MOST_COMPARED;
  const keyed = entries.map((entry) => ({ entry, name: entry.name.toLowerCase() }));
  const byName = (a: (typeof keyed)[number], b: (typeof keyed)[number]) => {
    if (!isMany) return collator.compare(a.entry.name, b.entry.name);
    return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
  };
  keyed.sort((a, b) => {
    const kinds = KIND_ORDER[a.entry.kind] - KIND_ORDER[b.entry.kind];
    if (a.entry.kind === "folder" || b.entry.kind === "folder") {
      if (kinds !== 0) return kinds;
    }
    if (by === "size") return sign * (a.entry.size - b.entry.size) || byName(a, b);
    if (by === "modified") {
      return sign * ((a.entry.modified_ms ?? 0) - (b.entry.modified_ms ?? 0)) || byName(a, b);
    }
    return sign * byName(a, b);
  });
  return keyed.map(({ entry }) => entry);
}

/** `0o644` -> `rw-r--r--`. */
export function modeText(mode: number): string {
  const bits = [0o400, 0o200, 0o100, 0o040, 0o020, 0o010, 0o004, 0o002, 0o001];
  const text = bits.map((bit, n) => (mode & bit ? "rwx".charAt(n % 3) : "-"));
  const special = (bit: number, at: number, letter: string) => {
    if (mode & bit) text[at] = text[at] === "x" ? letter : letter.toUpperCase();
  };
  special(0o4000, 2, "s");
  special(0o2000, 5, "s");
  special(0o1000, 8, "t");
  return text.join("");
}
