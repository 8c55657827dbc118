import type { Alert } from "../../api/types";
import { pendingReason } from "../agents/pending-reasons";

/** The facts of an alert as names and values to show. What they are depends on its kind. */
export function alertFacts(alert: Pick<Alert, "detail">): { name: string; value: string }[] {
  return Object.entries(alert.detail).flatMap(([name, value]) =>
    value === null || value === undefined || value === ""
      ? []
      : [{ name: label(name), value: text(name, value) }],
  );
}

/** One line under the title in a list. */
export function alertLine(alert: Pick<Alert, "detail">): string {
  const { reason } = alert.detail;
  if (typeof reason === "string") return pendingReason(reason);
  return Object.entries(alert.detail)
    .filter(([name, value]) => typeof value === "string" && !name.endsWith("_id"))
    .map(([, value]) => value)
    .join(", ");
}

const LABELS: Record<string, string> = {
  reason: "Why",
  collides_with: "Known machine",
  hostname: "Host name",
  asked_at_site_id: "Asked at site",
  enrolled_at_site_id: "Enrolled at site",
};

function label(name: string): string {
  const words = name.replaceAll("_", " ");
  return LABELS[name] ?? words.charAt(0).toUpperCase() + words.slice(1);
}

function text(name: string, value: unknown): string {
  if (typeof value !== "string") return JSON.stringify(value);
  return name === "reason" ? pendingReason(value) : value;
}
