import { describe, expect, it } from "vitest";
import { alertFacts, alertLine } from "./detail";

describe("alert detail", () => {
  it("says known reasons in a sentence and unknown ones as they are", () => {
    expect(alertLine({ detail: { reason: "identity_in_use", collides_with: "x" } })).toContain(
      "same hardware identity",
    );
    expect(alertLine({ detail: { reason: "brand_new" } })).toBe("brand_new");
  });

  it("shows every fact, whatever its type, and skips empty ones", () => {
    expect(
      alertFacts({ detail: { hostname: "<b>", count: 3, nothing: null, nested: { a: [1] } } }),
    ).toEqual([
      { name: "Host name", value: "<b>" },
      { name: "Count", value: "3" },
      { name: "Nested", value: '{"a":[1]}' },
    ]);
  });
});
