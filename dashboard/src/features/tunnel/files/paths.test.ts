import { describe, expect, it } from "vitest";
import { crumbsOf, joinPath, nameOf, nameProblem, parentOf } from "./paths";

describe("paths", () => {
  it.each([
    ["/", "etc", "/etc"],
    ["/srv", "data", "/srv/data"],
    ["C:\\", "Data", "C:\\Data"],
    ["C:\\Data", "a.txt", "C:\\Data\\a.txt"],
    ["\\\\files\\share", "x", "\\\\files\\share\\x"],
  ])("%s and %s", (folder, name, path) => {
    expect(joinPath(folder, name)).toBe(path);
    expect(nameOf(path)).toBe(name);
    expect(parentOf(path)).toBe(folder);
  });

  it("have a way from the top", () => {
    expect(crumbsOf("/srv/data").map(({ path }) => path)).toEqual(["/", "/srv", "/srv/data"]);
    expect(crumbsOf("C:\\Data").map(({ path }) => path)).toEqual(["C:\\", "C:\\Data"]);
    expect(parentOf("/")).toBeNull();
    expect(parentOf("C:\\")).toBeNull();
  });

  it("have names that can be names", () => {
    expect(nameProblem("/srv", "a:b")).toBeNull();
    expect(nameProblem("C:\\", "a:b")).not.toBeNull();
    for (const name of ["", " ", ".", "..", "a/b"])
      expect(nameProblem("/srv", name)).not.toBeNull();
  });
});
