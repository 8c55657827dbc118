import { readPreference, writePreference } from "../../../lib/storage";

const KEY = "gururmm.terminal.font";
const DEFAULT_PX = 14;
const LEAST_PX = 8;
const MOST_PX = 32;

export type FontStep = "larger" | "smaller" | "ordinary";

const isSize = (value: unknown): value is number =>
  typeof value === "number" && value >= LEAST_PX && value <= MOST_PX;

export const readFontSize = () => readPreference(KEY, isSize) ?? DEFAULT_PX;
export const writeFontSize = (size: number) => writePreference(KEY, size);

const READER_KEY = "gururmm.terminal.reader";
const isFlag = (value: unknown): value is boolean => typeof value === "boolean";

/** Whether what is on the screen is also there as text, for whoever has it read out. */
export const readForReader = () => readPreference(READER_KEY, isFlag) ?? false;
export const writeForReader = (isOn: boolean) => writePreference(READER_KEY, isOn);

export function stepFont(size: number, step: FontStep): number {
  if (step === "ordinary") return DEFAULT_PX;
  return Math.min(MOST_PX, Math.max(LEAST_PX, size + (step === "larger" ? 1 : -1)));
}
