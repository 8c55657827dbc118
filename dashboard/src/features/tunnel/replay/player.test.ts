import { describe, expect, it } from "vitest";
import { CastReader } from "./cast";
import { Player } from "./player";
import { atTime } from "./times";

const RECORDED = [
  '{"version": 2, "width": 80, "height": 24, "title": "bash"}',
  '[1.0, "o", "$ "]',
  '[1.5, "i", "ls\\r"]',
  '[1.5, "m", "ls"]',
  '[1.75, "o", "ls\\r\\na b\\r\\n$ "]',
  '[1.8, "ob", "AAEC"]',
  '[60.0, "r", "100x30"]',
  '[61.0, "o", "exit\\r\\n"]',
  "",
].join("\n");

function read(text: string, piece = text.length) {
  const reader = new CastReader();
  for (let at = 0; at < text.length; at += piece) reader.push(text.slice(at, at + piece));
  return reader.finish();
}

function playing() {
  const cast = read(RECORDED);
  if (!cast) throw new Error("not read");
  const said: string[] = [];
  const player = new Player(cast, {
    reset: () => said.push("reset"),
    resize: (columns, rows) => said.push(`${columns}x${rows}`),
    write: (text) => said.push(text),
  });
  said.length = 0;
  return { player, said };
}

describe("a cast", () => {
  it("is read in whatever pieces it comes, and without what is not known", () => {
    const cast = read(RECORDED, 7);
    expect(cast).toEqual(read(RECORDED));
    expect(cast?.events.map(({ atMs, kind }) => [atMs, kind])).toEqual([
      [1_000, "output"],
      [1_500, "input"],
      [1_500, "marker"],
      [1_750, "output"],
      [60_000, "resize"],
      [61_000, "output"],
    ]);
  });

  it("is null when it is none, and keeps what is whole when it was cut", () => {
    expect(read('{"version": 1}\n')).toBeNull();
    expect(read("<html>")).toBeNull();
    expect(read(RECORDED.slice(0, -40))?.events).toHaveLength(4);
    expect(read(`${RECORDED}[62.0, "r", "0x9999"]\n`)?.events).toHaveLength(6);
  });
});

describe("a player", () => {
  it("shows what was shown, at the speed that is wanted", () => {
    const { player, said } = playing();
    player.setSkipsIdle(false);
    player.advance(1_000);
    expect(said).toEqual([]);
    player.play(true);
    player.advance(500);
    expect(said).toEqual(["$ "]);
    player.setSpeed(4);
    player.advance(100);
    expect(said.at(-1)).toBe("ls\r\na b\r\n$ ");
    player.advance(1_000);
    expect(player.getState().atMs).toBe(1_000 + 500 + 400 + 4_000);
  });

  it("passes over what is idle", () => {
    const { player } = playing();
    player.play(true);
    player.advance(800);
    player.advance(16);
    expect(player.getState().atMs).toBeGreaterThan(59_000);
    player.advance(5_000);
    expect(player.getState()).toMatchObject({ atMs: 61_000, isPlaying: false });
  });

  it("jumps, forwards with what is between and backwards from the beginning", () => {
    const { player, said } = playing();
    player.seek(61_000);
    expect(said).toEqual(["$ ls\r\na b\r\n$ ", "100x30", "exit\r\n"]);
    said.length = 0;
    player.seek(1_600);
    expect(said).toEqual(["reset", "80x24", "$ "]);
    player.seek(-5);
    expect(player.getState().atMs).toBe(1_000);
    player.seek(1e9);
    player.play(true);
    expect(player.getState()).toMatchObject({ atMs: 1_000, isPlaying: true });
  });
});

describe("times", () => {
  it.each([
    [0, "0:00"],
    [7_900, "0:07"],
    [724_000, "12:04"],
    [3_729_000, "1:02:09"],
  ])("%s", (milliseconds, text) => {
    expect(atTime(milliseconds)).toBe(text);
  });
});
