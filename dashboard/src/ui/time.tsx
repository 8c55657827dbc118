import { formatDateTime, formatRelative } from "../lib/format";
import { useNow } from "../lib/now";

/** How long ago; the exact time is in the title. */
export function RelativeTime({
  time,
  none = "never",
}: {
  time: string | null | undefined;
  none?: string;
}) {
  const now = useNow();
  if (!time) return <span>{none}</span>;
  return (
    <time dateTime={time} title={formatDateTime(time)} className="whitespace-nowrap">
      {formatRelative(time, now)}
    </time>
  );
}

export function DateTime({ time, none = "–" }: { time: string | null | undefined; none?: string }) {
  if (!time) return <span>{none}</span>;
  return (
    <time dateTime={time} className="whitespace-nowrap">
      {formatDateTime(time)}
    </time>
  );
}
