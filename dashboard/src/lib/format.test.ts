import { describe, expect, it } from "vitest";
import {
  formatBytes,
  formatClockOffset,
  formatDuration,
  formatElapsed,
  formatPercent,
  formatRelative,
  formatSystem,
  plural,
} from "./format";

describe("formats", () => {
  it.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [1536, "1.5 KiB"],
    [150 * 1024, "150 KiB"],
    [2 ** 40, "1.0 TiB"],
    [null, "–"],
    [Number.NaN, "–"],
  ])("bytes %s", (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  it.each([
    [0, "0 s"],
    [59, "59 s"],
    [60, "1 min"],
    [3_661, "1 h 1 min"],
    [86_400, "1 d"],
    [93_784, "1 d 2 h"],
    [86_400 + 59, "1 d"],
  ])("duration %s", (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text);
  });

  it.each([
    [null, null],
    [1_200, "right"],
    [-36_000_000, "10 h behind"],
    [401_000, "6 min 41 s ahead"],
  ])("clock offset %s", (milliseconds, text) => {
    expect(formatClockOffset(milliseconds)).toBe(text);
  });

  it("elapsed time in fitting precision", () => {
    expect([340, 4_200, 125_000].map(formatElapsed)).toEqual(["340 ms", "4.2 s", "2 min 5 s"]);
  });

  it("relative time, forgiving a server clock slightly ahead", () => {
    const now = Date.UTC(2026, 2, 12);
    expect(formatRelative(now + 8_000, now)).toBe("just now");
    expect(formatRelative(now + 3_600_000, now)).toBe("in 1 h");
    expect(formatRelative(now - 42_000, now)).toBe("42 s ago");
    expect(formatRelative(now - 3 * 86_400_000, now)).toBe("3 d ago");
    expect(formatRelative("nonsense", now)).toBe("–");
  });

  it("percent and plural", () => {
    expect(formatPercent(12.345)).toBe("12.3\u2009%");
    expect(plural(1, "process", "processes")).toBe("1 process");
    expect(plural(2, "process", "processes")).toBe("2 processes");
  });
});

describe("formatSystem", () => {
  it("keeps what tells systems apart", () => {
    expect(formatSystem("Debian GNU/Linux 12 (bookworm)")).toBe("Debian 12");
    expect(formatSystem("Ubuntu 24.04.2 LTS")).toBe("Ubuntu 24.04.2 LTS");
    expect(formatSystem("Windows Server 2022")).toBe("Windows Server 2022");
    expect(formatSystem("")).toBe("");
  });
});
