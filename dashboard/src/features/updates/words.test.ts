import { describe, expect, it } from "vitest";
import { rolloutSteps } from "./words";

describe("what can be done with a rollout", () => {
  it("goes no further than the last ring", () => {
    expect(rolloutSteps({ state: "running", ring: 2 })).toContain("promote");
    expect(rolloutSteps({ state: "running", ring: 3 })).not.toContain("promote");
  });

  it("offers the way back from everywhere but the way back", () => {
    for (const state of ["running", "halted", "done"] as const) {
      expect(rolloutSteps({ state, ring: 0 })).toContain("roll_back");
    }
    expect(rolloutSteps({ state: "rolling_back", ring: 0 })).toEqual(["resume"]);
  });
});
