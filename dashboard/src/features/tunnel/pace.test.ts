import { describe, expect, it } from "vitest";
import { OF_DOWNLOADS_MS, Pace } from "./pace";
import { BULK_WINDOW_BYTES, FIRST_TRANSFER_BYTES } from "./wire";

/** The window after half a minute on a line of this kind. */
function onALine(quietMs: number, bytesPerMs: number): number {
  const pace = new Pace(0, OF_DOWNLOADS_MS);
  for (let now = 0; now < 30_000; ) {
    now += Math.max(quietMs, pace.window / bytesPerMs);
    pace.through(pace.window, now, quietMs);
  }
  return pace.window;
}

describe("the window of a transfer", () => {
  it("grows until it fills the line", () => {
    // 100 Mbit/s and 20 ms: 250 kB are on their way.
    const window = onALine(20, 12_500);
    expect(window).toBeGreaterThanOrEqual(250_000);
    expect(window).toBeLessThanOrEqual(2 * 250_000);
    expect(onALine(100, 125_000)).toBe(BULK_WINDOW_BYTES);
  });
  it("grows the less the fuller the line is", () => {
    for (const [took, window] of [
      [21, 2 * FIRST_TRANSFER_BYTES],
      [24, FIRST_TRANSFER_BYTES * 1.25],
      [26, FIRST_TRANSFER_BYTES],
    ] as const) {
      const pace = new Pace(0, OF_DOWNLOADS_MS);
      const more = pace.through(4 * FIRST_TRANSFER_BYTES, 4 * took, 20);
      expect([pace.window, more]).toEqual([window, window - FIRST_TRANSFER_BYTES]);
    }
  });
  it("stays small where more would only wait", () => {
    // 2 Mbit/s and 20 ms.
    expect(onALine(20, 250)).toBe(FIRST_TRANSFER_BYTES);
  });
  it("shrinks when the line became slow", () => {
    const pace = new Pace(0, OF_DOWNLOADS_MS);
    let now = 0;
    for (let round = 0; round < 40; round++) {
      now += 50;
      pace.through(pace.window, now, 50);
    }
    expect(pace.window).toBe(BULK_WINDOW_BYTES);
    for (let round = 0; round < 40; round++) {
      now += Math.max(50, pace.window / 500);
      pace.through(pace.window, now, 50);
    }
    expect(pace.window).toBe(FIRST_TRANSFER_BYTES);
  });
  it("stays as it is while the way is unknown", () => {
    const pace = new Pace(0, OF_DOWNLOADS_MS);
    for (let now = 0; now < 100; now++) pace.through(FIRST_TRANSFER_BYTES, now, null);
    expect(pace.window).toBe(FIRST_TRANSFER_BYTES);
  });
});
