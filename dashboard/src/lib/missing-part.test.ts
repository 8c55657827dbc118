import { expect, it } from "vitest";
import { isMissingPart } from "./missing-part";

it("knows a part of the page that is gone by what each browser says of it", () => {
  for (const said of [
    "Failed to fetch dynamically imported module: https://rmm.example.com/assets/editor-D3.js",
    "error loading dynamically imported module: https://rmm.example.com/assets/editor-D3.js",
    "Importing a module script failed.",
    "Unable to preload CSS for /assets/xterm-Cx.css",
  ]) {
    expect(isMissingPart(new TypeError(said))).toBe(true);
  }
  expect(isMissingPart(new TypeError("Failed to fetch"))).toBe(false);
  expect(isMissingPart("Importing a module script failed.")).toBe(false);
});
