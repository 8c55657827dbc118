import { describe, expect, it } from "vitest";
import { dataText, editText, joinKey, keyName, parentKey, parseData } from "./registry";

describe("values", () => {
  it.each([
    ["string", "a", "a"],
    ["multi_string", "a\nb\n", ["a", "b"]],
    ["dword", "0xFF", 255],
    ["dword", " 4294967295 ", 4_294_967_295],
    ["qword", "18446744073709551615", "18446744073709551615"],
    ["binary", "00 FF,1a", "00ff1a"],
    ["binary", "", ""],
  ] as const)("%s %j", (type, text, data) => {
    expect(parseData(type, text)).toEqual({ type, data });
  });

  it.each([
    ["dword", "4294967296"],
    ["dword", "-1"],
    ["dword", "ten"],
    ["dword", ""],
    ["qword", "18446744073709551616"],
    ["binary", "0f f"],
    ["multi_string", "a\n\nb"],
    ["string", "x".repeat(8_193)],
  ] as const)("%s is not %j", (type, text) => {
    expect(parseData(type, text)).toHaveProperty("problem");
  });

  it("are edited as they are read", () => {
    for (const value of [
      { type: "binary", data: "00ff1a" },
      { type: "multi_string", data: ["a", "b"] },
      { type: "qword", data: "5" },
    ] as const) {
      expect(parseData(value.type, editText({ ...value, data: value.data as never }))).toEqual(
        value,
      );
    }
    expect(dataText({ type: "dword", data: 16 })).toBe("16 (0x00000010)");
    expect(dataText({ type: "binary", data: "00ff" })).toBe("00 ff");
  });
});

describe("keys", () => {
  it("have names and parents", () => {
    const key = joinKey("HKEY_LOCAL_MACHINE\\SOFTWARE", "Example");
    expect([keyName(key), parentKey(key)]).toEqual(["Example", "HKEY_LOCAL_MACHINE\\SOFTWARE"]);
    expect([parentKey("HKEY_USERS"), joinKey("", "HKEY_USERS")]).toEqual(["", "HKEY_USERS"]);
  });
});
