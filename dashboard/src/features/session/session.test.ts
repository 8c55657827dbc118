import { describe, expect, it } from "vitest";
import { safeNext } from "./session";

describe("safeNext", () => {
  it("stays on this site", () => {
    expect(safeNext("/agents?status=online")).toBe("/agents?status=online");
    for (const next of [
      undefined,
      "",
      "//evil.example",
      "/\\evil.example",
      "https://evil.example",
      "javascript:alert(1)",
      "/sign-in?next=/",
    ]) {
      expect(safeNext(next)).toBe("/");
    }
  });
});
