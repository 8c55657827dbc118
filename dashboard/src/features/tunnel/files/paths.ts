// Paths in the machine's own notation: `/srv/data` or `C:\Data`.

const isWindows = (path: string) => /^[a-z]:|^\\\\/i.test(path);
const separatorOf = (path: string) => (isWindows(path) ? "\\" : "/");

/** `/srv` and `data` -> `/srv/data`. */
export function joinPath(folder: string, name: string): string {
  const separator = separatorOf(folder);
  return folder.endsWith(separator) ? folder + name : folder + separator + name;
}

/** The folders on the way to a path and the path itself, from the top. */
export function crumbsOf(path: string): { label: string; path: string }[] {
  const separator = separatorOf(path);
  const parts = path.split(separator).filter(Boolean);
  const crumbs: { label: string; path: string }[] = [];
  let at = "";
  if (!isWindows(path)) {
    crumbs.push({ label: "/", path: "/" });
    at = "/";
  } else if (path.startsWith("\\\\")) {
    at = "\\\\";
  }
  for (const [index, part] of parts.entries()) {
    // A drive is named with the backslash after it.
    const isDrive = index === 0 && part.endsWith(":");
    at = at === "" || at.endsWith(separator) ? at + part : at + separator + part;
    if (isDrive) at += separator;
    crumbs.push({ label: isDrive ? at : part, path: at });
  }
  return crumbs;
}

/** The folder that a path is in; null at the top. */
export function parentOf(path: string): string | null {
  return crumbsOf(path).at(-2)?.path ?? null;
}

export function nameOf(path: string): string {
  return crumbsOf(path).at(-1)?.label ?? path;
}

/** What is wrong with a name for something in a folder; null when nothing is. */
export function nameProblem(folder: string, name: string): string | null {
  if (name.trim() === "") return "It needs a name.";
  if (name === "." || name === "..") return "This name stands for a folder.";
  if (name.includes("/") || (isWindows(folder) && /[\\:*?"<>|]/.test(name))) {
    return "It contains a character that no name may have.";
  }
  return null;
}
