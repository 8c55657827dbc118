import { describe, expect, it } from "vitest";
import type { z } from "zod";
import * as wire from "./wire";

/** What the Rust side reads and writes, by the names of its files. */
const GOLDEN = Object.entries(
  import.meta.glob("../../../../crates/protocol/tests/golden/v1.1/channel/*.json", {
    eager: true,
    import: "default",
  }),
).map(([path, golden]) => ({ file: path.slice(path.lastIndexOf("/") + 1), golden }));

/** Which shape a golden file has, by the first word of its name. */
const SHAPES: Record<string, z.ZodType> = {
  attach: wire.attach,
  end: wire.channelEnd,
  events_message: wire.eventsMessage,
  file_answer: wire.response(wire.fileAnswer),
  file_request: wire.request(wire.fileRequest),
  open: wire.open,
  opened: wire.opened,
  ping: wire.ping,
  presence: wire.presence,
  process_answer: wire.response(wire.processAnswer),
  process_request: wire.request(wire.processRequest),
  registry_answer: wire.response(wire.registryAnswer),
  registry_request: wire.request(wire.registryRequest),
  service_answer: wire.response(wire.serviceAnswer),
  service_request: wire.request(wire.serviceRequest),
  terminal_message: wire.terminalMessage,
  upload_message: wire.uploadMessage,
};

describe("bodies", () => {
  it("are all known", () => {
    expect(GOLDEN.length).toBeGreaterThan(70);
    expect([...new Set(GOLDEN.map(({ file }) => file.replace(/[-.].*/, "")))].sort()).toEqual(
      Object.keys(SHAPES).sort(),
    );
  });

  it.each(GOLDEN)("$file is read, and written back the same", ({ file, golden }) => {
    const shape = SHAPES[file.replace(/[-.].*/, "")];
    const bytes = wire.jsonFrame(7, wire.KIND.message, golden);
    const frame = wire.readFrame(bytes);
    const read = shape && frame && wire.jsonOf(shape, frame.body);
    expect(read).toEqual(golden);
    expect(wire.jsonFrame(7, wire.KIND.message, read)).toEqual(bytes);
  });

  it("of a later machine become what this page knows", () => {
    const entry = { name: "x", kind: "portal", size: 1, colour: "blue" };
    expect(wire.entry.parse(entry)).toEqual({
      name: "x",
      kind: "other",
      size: 1,
      is_hidden: false,
      is_unnameable: false,
    });
    expect(wire.channelEnd.parse({ error: { code: "on_fire" } }).error?.code).toBe("other");
    expect(wire.opened.parse({})).toEqual({ window: 0, from: 0, received: 0 });
  });

  it("that are none are null", () => {
    const body = (text: string) => new TextEncoder().encode(text);
    expect(wire.jsonOf(wire.opened, body("{"))).toBeNull();
    expect(wire.jsonOf(wire.opened, body('{"window":-1}'))).toBeNull();
  });
});

describe("frames", () => {
  it("have the bytes that the other side writes", () => {
    // As `a_frame_is_read_as_it_was_written` in crates/protocol/src/tunnel/frame.rs.
    const bytes = wire.dataFrame(3, 2 ** 40, new TextEncoder().encode("ls -l\n"), 3);
    const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    expect(hex).toBe("00000003030300000000010000000000" + "6c73202d6c0a");
    const frame = wire.readFrame(bytes);
    expect(frame).toMatchObject({ channel: 3, kind: wire.KIND.data, flags: 3 });
    expect(frame && wire.dataOf(frame.body).offset).toBe(2 ** 40);
    const credit = wire.readFrame(wire.creditFrame(0xffff_fff0, 4096));
    expect(credit).toMatchObject({ channel: 0xffff_fff0, kind: wire.KIND.credit });
    expect(credit && wire.creditOf(credit.body)).toBe(4096);
  });

  it("are refused when they are none", () => {
    const header = (kind: number, body: number) => {
      const bytes = new Uint8Array(8 + body);
      bytes[3] = 1;
      bytes[4] = kind;
      return bytes;
    };
    expect(wire.readFrame(header(3, 8).subarray(0, 7))).toBeNull();
    expect(wire.readFrame(header(3, 7))).toBeNull();
    expect(wire.readFrame(header(5, 3))).toBeNull();
    expect(wire.readFrame(header(0, 8))).toBeNull();
    expect(wire.readFrame(header(8, 8))).toBeNull();
    expect(wire.readFrame(header(4, wire.MAX_BODY_BYTES + 1))).toBeNull();
    expect(wire.readFrame(header(4, wire.MAX_BODY_BYTES))).not.toBeNull();
    expect(() => wire.jsonFrame(1, wire.KIND.message, "x".repeat(65_536))).toThrow(RangeError);
  });
});
