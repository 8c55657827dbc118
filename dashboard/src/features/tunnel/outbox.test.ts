import { describe, expect, it } from "vitest";
import { MAX_KEPT_BYTES, Outbox } from "./outbox";
import { PIECE_BYTES } from "./wire";

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (piece: { bytes: Uint8Array } | null) =>
  piece && new TextDecoder().decode(piece.bytes);

describe("what is typed", () => {
  it("goes out as far as the credit reaches, in one piece where it can", () => {
    const outbox = new Outbox();
    for (const key of "echo") outbox.push(bytes(key));
    expect(outbox.next(8)).toBeNull();
    expect(text(outbox.next(8 + 3))).toBe("ech");
    expect(outbox.next(1000)).toEqual({ offset: 3, bytes: bytes("o") });
    expect(outbox.next(1000)).toBeNull();
  });

  it("is sent again from where the machine has it", () => {
    const outbox = new Outbox();
    outbox.push(bytes("make "));
    outbox.push(bytes("all\n"));
    outbox.next(1000);
    outbox.push(bytes("ls\n"));
    outbox.resume(7);
    expect(outbox.next(1000)).toEqual({ offset: 7, bytes: bytes("l\nls\n") });
    outbox.resume(12);
    expect(outbox.isEmpty).toBe(true);
    expect(outbox.next(1000)).toBeNull();
  });

  it("is kept until credit comes back for it, and no longer", () => {
    const outbox = new Outbox();
    outbox.push(bytes("abc"));
    outbox.next(1000);
    outbox.message(20);
    outbox.push(bytes("de"));
    outbox.next(1000);
    outbox.grant(10);
    expect(outbox.isEmpty).toBe(false);
    outbox.grant(1 + 20 + 9);
    outbox.resume(0);
    expect(outbox.next(1000)).toEqual({ offset: 3, bytes: bytes("de") });
    outbox.grant(10);
    expect(outbox.isEmpty).toBe(true);
  });

  it("goes on from the machine's place on a page that was loaded again", () => {
    const outbox = new Outbox();
    outbox.push(bytes("x"));
    outbox.begin(100);
    expect(outbox.next(1000)).toEqual({ offset: 100, bytes: bytes("x") });
  });

  it("is refused when too much waits already", () => {
    const outbox = new Outbox();
    expect(outbox.push(new Uint8Array(MAX_KEPT_BYTES))).toBe(true);
    expect(outbox.push(bytes("x"))).toBe(false);
    expect(outbox.next(10 * MAX_KEPT_BYTES)?.bytes.length).toBe(PIECE_BYTES);
    outbox.grant(8 + PIECE_BYTES);
    expect(outbox.push(bytes("x"))).toBe(true);
  });

  it("arrives whole whatever the link does", () => {
    // A machine that takes some, loses the link, and says where it was.
    let seed = 7;
    const random = (below: number) => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed % below;
    };
    const outbox = new Outbox();
    const typed: string[] = [];
    let arrived = "";
    for (let round = 0; round < 2_000; round++) {
      const piece = String.fromCharCode(97 + random(26)).repeat(random(5));
      if (outbox.push(bytes(piece))) typed.push(piece);
      const next = outbox.next(8 + random(12));
      if (next && random(4) > 0) {
        expect(next.offset).toBe(arrived.length);
        arrived += text(next);
        if (random(2)) outbox.grant(8 + next.bytes.length);
        else outbox.resume(arrived.length);
      } else {
        outbox.resume(arrived.length);
      }
    }
    for (let next = outbox.next(1e6); next; next = outbox.next(1e6)) arrived += text(next);
    expect(arrived).toBe(typed.join(""));
  });
});
