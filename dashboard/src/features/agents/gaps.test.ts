import { describe, expect, it } from "vitest";
import { describeGap } from "./gaps";

describe("describeGap", () => {
  it("says how many samples are missing and why", () => {
    expect(describeGap({ count: 14, reason: "outbox_full" })).toBe(
      "14 samples dropped: outbox full",
    );
    expect(describeGap({ count: 1, reason: "disk_full" })).toBe("1 sample dropped: disk full");
  });

  it("claims no number that nobody knows, and no reason that it does not know", () => {
    expect(describeGap({ count: null, reason: "store_unreadable" })).toBe(
      "Samples dropped: what was kept on disk could not be read",
    );
    expect(describeGap({ count: 2, reason: "new_word" })).toBe(
      "2 samples dropped: the machine does not say why",
    );
  });
});
