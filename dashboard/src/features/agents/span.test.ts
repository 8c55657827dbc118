import { describe, expect, it } from "vitest";
import { fromInput, resolutionWords, spanErrors, toInput } from "./span";

describe("a span that is typed", () => {
  it("comes back from the address as it was typed", () => {
    for (const text of ["2026-03-29T01:30", "2026-11-02T23:59", "2024-02-29T00:00"]) {
      const time = fromInput(text);
      expect(time).toMatch(/Z$/);
      expect(toInput(new Date(time ?? ""))).toBe(text);
    }
  });

  it("is no time while something is missing", () => {
    expect(fromInput("")).toBeNull();
    expect(fromInput("yesterday")).toBeNull();
    expect(toInput(new Date("never"))).toBe("");
  });

  it("begins before it ends, and both are there", () => {
    expect(spanErrors("", "2026-11-02T10:00").from).toBeDefined();
    expect(spanErrors("2026-11-02T10:00", "").to).toBeDefined();
    expect(spanErrors("2026-11-02T10:00", "2026-11-02T10:00").to).toBeDefined();
    expect(spanErrors("2026-11-02T10:00", "2026-11-02T09:00").to).toBeDefined();
    expect(spanErrors("2025-11-02T10:00", "2026-11-02T10:01")).toEqual({});
  });
});

describe("resolutionWords", () => {
  it("says what a point stands for, and what it was drawn from", () => {
    const words = (
      resolution_seconds: number,
      source: "samples" | "five_minutes" | "hours" | "days",
    ) => resolutionWords({ resolution_seconds, source });
    expect(words(15, "samples")).toBe("One point stands for 15 s, drawn from the samples.");
    expect(words(7_200, "hours")).toBe("One point stands for 2 h, drawn from averages of an hour.");
    expect(words(86_400, "days")).toContain("1 d");
    expect(words(600, "five_minutes")).toContain("averages of 5 minutes");
  });
});
