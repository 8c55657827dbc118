import { describe, expect, it } from "vitest";
import type { Sensor } from "../../api/types";
import { byDevice, formatSensor, hasLimit, limits } from "./sensors";

const sensor = (change: Partial<Sensor>): Sensor => ({
  device: "coretemp",
  name: "Core 0",
  kind: "temperature",
  value: 61,
  low: null,
  high: null,
  critical: null,
  state: "normal",
  ...change,
});

describe("sensors", () => {
  it("have the unit of what they measure", () => {
    expect(formatSensor("temperature", 61.04)).toBe("61.0\u2009°C");
    expect(formatSensor("fan", 1248.4)).toBe("1248\u2009rpm");
    expect(formatSensor("voltage", 1.248)).toBe("1.25\u2009V");
    expect(formatSensor("power", null)).toBe("–");
  });

  it("say their limits, and whether there are any", () => {
    expect(hasLimit(sensor({}))).toBe(false);
    expect(limits(sensor({}))).toBe("");
    const limited = sensor({ high: 84, critical: 100 });
    expect(hasLimit(limited)).toBe(true);
    expect(limits(limited)).toBe("high from 84.0\u2009°C, critical from 100.0\u2009°C");
    expect(limits(sensor({ kind: "fan", low: 300 }))).toBe("low below 300\u2009rpm");
  });

  it("stand together by device", () => {
    const sensors = [sensor({}), sensor({ device: "nvme" }), sensor({ name: "Core 1" })];
    expect(byDevice(sensors).map(([device, of]) => [device, of.length])).toEqual([
      ["coretemp", 2],
      ["nvme", 1],
    ]);
  });
});
