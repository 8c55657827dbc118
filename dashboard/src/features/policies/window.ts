export const WEEKDAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] as const;

/** Weekdays and a time of day; one that ends no later than it begins lasts until the day after. */
export interface MaintenanceWindow {
  days: string[];
  from: string;
  to: string;
  time_zone?: string;
}

/** What a form holds as text. */
export function parseWindow(text: string): MaintenanceWindow | null {
  try {
    const value: unknown = JSON.parse(text);
    return isWindow(value) ? value : null;
  } catch {
    return null;
  }
}

function isWindow(value: unknown): value is MaintenanceWindow {
  return (
    typeof value === "object" &&
    value !== null &&
    "days" in value &&
    Array.isArray(value.days) &&
    "from" in value &&
    typeof value.from === "string" &&
    "to" in value &&
    typeof value.to === "string"
  );
}

/** `Sat, Sun 22:00 to 05:00 (Europe/Berlin)`. */
export function formatWindow(value: unknown): string {
  if (!isWindow(value)) return "not a window";
  const days = value.days.map((day) => `${day.charAt(0).toUpperCase()}${day.slice(1)}`).join(", ");
  return `${days} ${value.from} to ${value.to} (${value.time_zone ?? "UTC"})`;
}
