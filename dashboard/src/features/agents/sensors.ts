import type { Sensor, SensorKind, SensorState } from "../../api/types";

const UNITS: Record<SensorKind, { unit: string; digits: number }> = {
  temperature: { unit: "°C", digits: 1 },
  fan: { unit: "rpm", digits: 0 },
  voltage: { unit: "V", digits: 2 },
  power: { unit: "W", digits: 1 },
  current: { unit: "A", digits: 2 },
  other: { unit: "", digits: 1 },
};

/** `61.0 °C`, `1248 rpm`; a narrow space before the unit, as with percentages. */
export function formatSensor(kind: SensorKind, value: number | null): string {
  if (value === null) return "–";
  const { unit, digits } = UNITS[kind];
  return `${value.toFixed(digits)}\u2009${unit}`.trim();
}

export const SENSOR_STATES: Record<
  SensorState,
  { label: string; tone: "ok" | "idle" | "warn" | "crit" }
> = {
  normal: { label: "Normal", tone: "ok" },
  low: { label: "Too low", tone: "warn" },
  high: { label: "High", tone: "warn" },
  critical: { label: "Critical", tone: "crit" },
};

/** Whether the machine's system names any limit; without one nobody knows whether a value is good. */
export function hasLimit({ low, high, critical }: Sensor): boolean {
  return low !== null || high !== null || critical !== null;
}

/** The limits in words: `high from 84.0 °C, critical from 100.0 °C`. */
export function limits({ kind, low, high, critical }: Sensor): string {
  return [
    low !== null && `low below ${formatSensor(kind, low)}`,
    high !== null && `high from ${formatSensor(kind, high)}`,
    critical !== null && `critical from ${formatSensor(kind, critical)}`,
  ]
    .filter(Boolean)
    .join(", ");
}

/** Sensors by the device they belong to, in the order they come. */
export function byDevice(sensors: readonly Sensor[]): [device: string, sensors: Sensor[]][] {
  const devices = new Map<string, Sensor[]>();
  for (const sensor of sensors) {
    const known = devices.get(sensor.device);
    if (known) known.push(sensor);
    else devices.set(sensor.device, [sensor]);
  }
  return [...devices];
}
