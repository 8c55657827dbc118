import { describe, expect, it, vi } from "vitest";
import { OutputLog, type OutputPiece } from "./output-log";

const text = (log: OutputLog) =>
  log.lines.map((line) => line.segments.map((segment) => segment.text).join(""));

function logOf(...pieces: (string | [OutputPiece["stream"], string])[]) {
  const log = new OutputLog();
  log.append(
    pieces.map((piece, index) =>
      typeof piece === "string"
        ? { seq: index + 1, stream: "stdout" as const, text: piece }
        : { seq: index + 1, stream: piece[0], text: piece[1] },
    ),
  );
  return log;
}

describe("OutputLog", () => {
  it("makes the same lines however the chunks are cut", () => {
    const whole = "one\ntwo \u001b[31mred\u001b[0m\r\n\nlast";
    const pieces = [...whole];
    expect(text(logOf(...pieces))).toEqual(text(logOf(whole)));
    expect(text(logOf(whole))).toEqual(["one", "two red", "", "last"]);
  });

  it("takes each chunk once, by its number", () => {
    const log = logOf("a\n", "b\n");
    log.append([
      { seq: 1, stream: "stdout", text: "a\n" },
      { seq: 2, stream: "stdout", text: "b\n" },
      { seq: 3, stream: "stdout", text: "c\n" },
    ]);
    expect(text(log)).toEqual(["a", "b", "c"]);
    expect(log.lastSeq).toBe(3);
  });

  it("keeps the two streams apart when they interrupt each other", () => {
    const log = logOf("working", ["stderr", "warning\n"], " done\n");
    expect(log.lines.map(({ stream }) => stream)).toEqual(["stdout", "stderr", "stdout"]);
    expect(text(log)).toEqual(["working", "warning", " done"]);
  });

  it("shows the last state of a progress display", () => {
    expect(text(logOf("10%\r20%\r", "100%\nready\n"))).toEqual(["100%", "ready"]);
  });

  it("breaks a line without an end", () => {
    const log = logOf("x".repeat(5_000));
    expect(text(log).map((line) => line.length)).toEqual([2_000, 2_000, 1_000]);
  });

  it("drops from the front beyond its bound and says how much", () => {
    const log = logOf("line\n".repeat(60_000));
    expect(log.lines.length).toBeLessThanOrEqual(50_000);
    expect(log.lines.length + log.dropped).toBe(60_000);
    log.append([{ seq: 2, stream: "stdout", text: "after" }]);
    expect(text(log).at(-1)).toBe("after");
  });

  it("tells its listeners only of what is new", () => {
    const log = logOf("a");
    const listener = vi.fn();
    log.subscribe(listener);
    log.append([{ seq: 1, stream: "stdout", text: "a" }]);
    expect(listener).not.toHaveBeenCalled();
    log.append([{ seq: 2, stream: "stdout", text: "b" }]);
    expect(listener).toHaveBeenCalledOnce();
  });
});
