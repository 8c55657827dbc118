import { MAX_VALUE_BYTES, type RegistryData } from "./wire";

export type RegistryType = Exclude<RegistryData["type"], "other">;

/** As Windows calls them. */
export const TYPE_NAMES: Record<RegistryData["type"], string> = {
  string: "REG_SZ",
  expand_string: "REG_EXPAND_SZ",
  multi_string: "REG_MULTI_SZ",
  dword: "REG_DWORD",
  qword: "REG_QWORD",
  binary: "REG_BINARY",
  other: "Another type",
};
export const TYPES: readonly RegistryType[] = [
  "string",
  "expand_string",
  "multi_string",
  "dword",
  "qword",
  "binary",
];

/** A value on one line. */
export function dataText(value: RegistryData): string {
  switch (value.type) {
    case "string":
    case "expand_string":
      return value.data;
    case "multi_string":
      return value.data.join(" | ");
    case "dword":
      return `${value.data} (0x${value.data.toString(16).padStart(8, "0")})`;
    case "qword":
      return value.data;
    case "binary":
      return spaced(value.data);
    case "other":
      return `type ${value.data.number}: ${spaced(value.data.hex)}`;
  }
}

/** A value as it is edited. */
export function editText(value: RegistryData): string {
  switch (value.type) {
    case "multi_string":
      return value.data.join("\n");
    case "dword":
      return String(value.data);
    case "binary":
      return spaced(value.data);
    case "other":
      return spaced(value.data.hex);
    default:
      return value.data;
  }
}

const spaced = (hex: string) => hex.replace(/(..)(?=.)/g, "$1 ");

const MOST_DWORD = 2n ** 32n - 1n;
const MOST_QWORD = 2n ** 64n - 1n;

/** What was typed as a value of a type, or what is wrong with it. */
export function parseData(type: RegistryType, text: string): RegistryData | { problem: string } {
  switch (type) {
    case "string":
    case "expand_string":
      return tooLong(text) ?? { type, data: text };
    case "multi_string": {
      const data = text.split("\n").map((line) => line.replace(/\r$/, ""));
      while (data.at(-1) === "") data.pop();
      if (data.includes("")) return { problem: "Between the lines none can be empty." };
      return tooLong(text) ?? { type, data };
    }
    case "dword": {
      const number = numberOf(text, MOST_DWORD);
      return number === null ? { problem: notNumber(MOST_DWORD) } : { type, data: Number(number) };
    }
    case "qword": {
      const number = numberOf(text, MOST_QWORD);
      return number === null ? { problem: notNumber(MOST_QWORD) } : { type, data: String(number) };
    }
    case "binary": {
      const hex = text.replace(/[\s,]/g, "").toLowerCase();
      if (!/^([0-9a-f]{2})*$/.test(hex))
        return { problem: "Two hexadecimal digits for each byte." };
      if (hex.length / 2 > MAX_VALUE_BYTES) return { problem: TOO_LONG };
      return { type, data: hex };
    }
  }
}

const TOO_LONG = `At most ${MAX_VALUE_BYTES / 1024} KiB.`;
// Windows keeps two bytes for each unit.
const tooLong = (text: string) =>
  text.length * 2 > MAX_VALUE_BYTES ? { problem: TOO_LONG } : null;
const notNumber = (most: bigint) => `A number from 0 to ${most}, or 0x and hexadecimal digits.`;

function numberOf(text: string, most: bigint): bigint | null {
  const trimmed = text.trim();
  if (!/^(\d+|0x[0-9a-f]+)$/i.test(trimmed)) return null;
  const number = BigInt(trimmed);
  return number <= most ? number : null;
}

export const keyName = (key: string) => key.slice(key.lastIndexOf("\\") + 1);
export const parentKey = (key: string) =>
  key.includes("\\") ? key.slice(0, key.lastIndexOf("\\")) : "";
export const joinKey = (key: string, name: string) => (key === "" ? name : `${key}\\${name}`);
