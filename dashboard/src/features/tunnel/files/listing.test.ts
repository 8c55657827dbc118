import { describe, expect, it } from "vitest";
import type { Entry } from "../wire";
import { modeText, sortEntries } from "./listing";

const entry = (name: string, kind: Entry["kind"] = "file", size = 0): Entry => ({
  name,
  kind,
  size,
  is_hidden: false,
  is_unnameable: false,
});
const order = (entries: Entry[], by: string, isDescending = false) =>
  sortEntries(entries, { by, isDescending }).map(({ name }) => name);

describe("a folder's entries", () => {
  const some = [
    entry("b10"),
    entry("B9"),
    entry("a", "folder"),
    entry("z", "folder"),
    entry("c", "link", 5),
  ];

  it("stand in order, folders first, numbers as numbers", () => {
    expect(order(some, "name")).toEqual(["a", "z", "B9", "b10", "c"]);
    expect(order(some, "name", true)).toEqual(["z", "a", "c", "b10", "B9"]);
    expect(order(some, "size", true)).toEqual(["a", "z", "c", "B9", "b10"]);
  });

  it("are sorted at once, however many", () => {
    const many = Array.from({ length: 100_000 }, (_, n) => entry(`file-${(n * 7_919) % 100_000}`));
    const start = performance.now();
    expect(order(many, "name")[0]).toBe("file-0");
    expect(performance.now() - start).toBeLessThan(2_000);
  });
});

describe("permission bits", () => {
  it.each([
    [0o644, "rw-r--r--"],
    [0o4755, "rwsr-xr-x"],
    [0o1777, "rwxrwxrwt"],
    [0o2640, "rw-r-S---"],
  ])("%o", (mode, text) => {
    expect(modeText(mode)).toBe(text);
  });
});
