import { describe, expect, it } from "vitest";
import { parseAnsi, stripAnsi } from "./ansi";

describe("parseAnsi", () => {
  it("keeps colour and weight across runs", () => {
    const { segments, style } = parseAnsi("plain \u001b[1;31mbad\u001b[0m \u001b[92mgood");
    expect(segments).toEqual([
      { text: "plain ", color: null, bold: false, dim: false },
      { text: "bad", color: "red", bold: true, dim: false },
      { text: " ", color: null, bold: false, dim: false },
      { text: "good", color: "green", bold: false, dim: false },
    ]);
    expect(style.color).toBe("green");
  });

  it("does not read the arguments of extended colours as codes of their own", () => {
    expect(parseAnsi("\u001b[38;5;31mx").segments[0]?.color).toBeNull();
    expect(parseAnsi("\u001b[38;2;31;1;2mx").segments[0]?.bold).toBe(false);
  });
});

describe("stripAnsi", () => {
  it.each([
    ["\u001b[2J\u001b[Hcleared", "cleared"],
    ["\u001b]0;title\u0007text", "text"],
    ["\u001b]8;;https://evil.example\u001b\\link\u001b]8;;\u001b\\", "link"],
    ["\u001b]52;c;ZXZpbA==\u0007clipboard", "clipboard"],
    ["a\u0008\u0000\u007fb", "ab"],
    ["user\u202etxt.exe", "usertxt.exe"],
    ["tab\tand\nnewline stay", "tab\tand\nnewline stay"],
    ["\u001b(B\u001b[?25lx\u001b[?25h", "x"],
    ["C1 \u009b31m", "C1 31m"],
  ])("%j", (input, text) => {
    expect(stripAnsi(input)).toBe(text);
  });

  it("leaves markup as the text it is", () => {
    expect(stripAnsi("<img src=x onerror=alert(1)>")).toBe("<img src=x onerror=alert(1)>");
  });

  it("takes linear time on hostile input", () => {
    const input = "\u001b[".repeat(200_000) + "\u001b]".repeat(200_000);
    const start = performance.now();
    stripAnsi(input);
    expect(performance.now() - start).toBeLessThan(2_000);
  });
});
