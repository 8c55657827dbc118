import { useQuery } from "@tanstack/react-query";
import { formatDateTime } from "../../lib/format";
import { describeGap } from "./gaps";
import { gapsQuery, type Span } from "./queries";

/** What the machine itself counted as lost within the charts' span. Nothing where it lost nothing. */
export function RecordedGaps({ agentId, span }: { agentId: string; span: Span }) {
  const gaps = useQuery(gapsQuery(agentId, span)).data?.gaps ?? [];
  if (gaps.length === 0) return null;
  return (
    <ul aria-label="Samples that were lost" className="mt-3 grid gap-1 text-sm">
      {gaps.map((gap) => (
        <li key={`${gap.from} ${gap.to} ${gap.reason}`} title={gap.error ?? undefined}>
          <span className="text-ink-1">{describeGap(gap)}</span>{" "}
          <span className="text-ink-3">
            {formatDateTime(gap.from)} to {formatDateTime(gap.to)}
          </span>
        </li>
      ))}
    </ul>
  );
}
