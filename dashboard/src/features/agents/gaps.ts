import type { MetricGap } from "../../api/types";
import { plural } from "../../lib/format";

const REASONS: Record<string, string> = {
  outbox_full: "outbox full",
  disk_full: "disk full",
  store_failed: "the disk did not take them",
  store_unreadable: "what was kept on disk could not be read",
};

/** `14 samples dropped: outbox full`. */
export function describeGap({ count, reason }: Pick<MetricGap, "count" | "reason">): string {
  const samples = count === null ? "Samples" : plural(count, "sample");
  return `${samples} dropped: ${REASONS[reason] ?? "the machine does not say why"}`;
}
