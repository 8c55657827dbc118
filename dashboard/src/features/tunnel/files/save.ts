// Where what comes from a machine is written to: a file that was chosen first, so that it need not fit into memory.

/** Takes a download piece by piece. */
export interface Sink {
  write(bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Begins from the first byte again. */
  restart(): Promise<void>;
  /** All is there. */
  close(): Promise<void>;
  /** Nothing of it is kept. */
  abort(): Promise<void>;
}

interface Pickers {
  showSaveFilePicker?: (options: { suggestedName: string }) => Promise<FileSystemFileHandle>;
  showDirectoryPicker?: (options: { mode: "readwrite" }) => Promise<FileSystemDirectoryHandle>;
}

const pickers = () => window as unknown as Pickers;

/** Whether the browser lets a page write into files of its user's choice. */
export const canStream = () => pickers().showSaveFilePicker !== undefined;
export const canStreamMany = () => pickers().showDirectoryPicker !== undefined;

/** Asks where to; null when nothing was chosen. */
export async function chooseFile(suggestedName: string): Promise<Sink | null> {
  const handle = await chosen(pickers().showSaveFilePicker?.({ suggestedName }));
  return handle && sinkOf(await handle.createWritable());
}

/** Asks for a folder; answers how to make files in it, or null when none was chosen. */
export async function chooseFolder(): Promise<((name: string) => Promise<Sink>) | null> {
  const folder = await chosen(pickers().showDirectoryPicker?.({ mode: "readwrite" }));
  return (
    folder &&
    (async (name) => {
      const handle = await folder.getFileHandle(name, { create: true });
      return sinkOf(await handle.createWritable());
    })
  );
}

async function chosen<T>(asked: Promise<T> | undefined): Promise<T | null> {
  try {
    return (await asked) ?? null;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") return null;
    throw error;
  }
}

function sinkOf(stream: FileSystemWritableFileStream): Sink {
  return {
    write: (bytes) => stream.write(bytes),
    restart: async () => {
      await stream.truncate(0);
      await stream.seek(0);
    },
    close: () => stream.close(),
    abort: () => stream.abort(),
  };
}

/** The address at which the browser itself downloads a file, or a folder as an archive. */
export function contentAddress(sessionId: string, path: string, isArchive: boolean): string {
  const query = new URLSearchParams({ path, ...(isArchive && { archive: "true" }) });
  return `/api/v1/tunnel/${sessionId}/files/content?${query}`;
}

/** Lets the browser download by itself. */
export function downloadBy(address: string, name: string) {
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
}
