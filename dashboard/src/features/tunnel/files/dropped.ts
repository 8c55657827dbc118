/** The most files that one drop or choice may hold. */
export const MAX_DROPPED = 10_000;

/** What is to be sent: folders first, each before what is in it. */
export interface Dropped {
  /** Relative, with `/` between the parts. */
  folders: string[];
  files: { path: string; file: File }[];
  /** There was more than this. */
  isCut: boolean;
}

/** What was dropped, folders with all in them. */
export async function readDrop(transfer: DataTransfer): Promise<Dropped> {
  // The list is empty once the event is over, so all entries are taken before anything is waited for.
  const entries = [...transfer.items].flatMap((item) => item.webkitGetAsEntry() ?? []);
  const dropped: Dropped = { folders: [], files: [], isCut: false };
  const queue = [...entries];
  for (let entry = queue.shift(); entry; entry = queue.shift()) {
    if (dropped.files.length + dropped.folders.length >= MAX_DROPPED) {
      dropped.isCut = true;
      break;
    }
    const path = entry.fullPath.replace(/^\//, "");
    if (isFolder(entry)) {
      dropped.folders.push(path);
      queue.push(...(await entriesOf(entry, MAX_DROPPED)));
    } else if (entry.isFile) {
      dropped.files.push({ path, file: await fileOf(entry as FileSystemFileEntry) });
    }
  }
  return dropped;
}

/** What was chosen by button: files, or a folder with all in it. */
export function readChosen(list: FileList): Dropped {
  const files = [...list].slice(0, MAX_DROPPED).map((file) => ({
    path: file.webkitRelativePath || file.name,
    file,
  }));
  return {
    folders: foldersOf(files.map(({ path }) => path)),
    files,
    isCut: list.length > MAX_DROPPED,
  };
}

/** The folders that paths are in, each before what is in it. */
export function foldersOf(paths: readonly string[]): string[] {
  const folders = new Set<string>();
  for (const path of paths) {
    const parts = path.split("/");
    for (let depth = 1; depth < parts.length; depth++) folders.add(parts.slice(0, depth).join("/"));
  }
  return [...folders].sort((a, b) => a.split("/").length - b.split("/").length);
}

const isFolder = (entry: FileSystemEntry): entry is FileSystemDirectoryEntry => entry.isDirectory;

async function entriesOf(folder: FileSystemDirectoryEntry, most: number) {
  const reader = folder.createReader();
  const all: FileSystemEntry[] = [];
  while (all.length < most) {
    const some = await new Promise<FileSystemEntry[]>((done, failed) =>
      reader.readEntries(done, failed),
    );
    if (some.length === 0) break;
    all.push(...some);
  }
  return all;
}

const fileOf = (entry: FileSystemFileEntry) =>
  new Promise<File>((done, failed) => entry.file(done, failed));
