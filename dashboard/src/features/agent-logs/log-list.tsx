import { Link } from "@tanstack/react-router";
import { type ReactNode, useState } from "react";
import type { AgentCrash, AgentLog } from "../../api/types";
import { formatBytes } from "../../lib/format";
import { useWide } from "../../lib/media";
import type { AgentLogSearch } from "../../routes/search";
import { Status } from "../../ui/badge";
import { Button } from "../../ui/button";
import { cn } from "../../ui/cn";
import { DateTime } from "../../ui/time";
import { crashCause, failure, logState } from "./words";

/** Shown at first, so that a long list does not push the other one and the text away; on a phone they are below. */
const SHORT = { wide: 5, narrow: 2 };

interface ListProps<T> {
  agentId: string;
  items: readonly T[];
  selected: string | undefined;
  onOpen: () => void;
}

export function LogList({ items, ...rest }: ListProps<AgentLog>) {
  return (
    <Rows {...rest} items={items} search={(log) => ({ log: log.id })}>
      {(log) => {
        const { label, tone } = logState(log.status);
        return (
          <>
            <Headline time={log.requested_at}>
              <Status tone={tone} pulse={log.status === "requested"} className="text-sm">
                {label}
              </Status>
            </Headline>
            <p className="flex justify-between gap-3 text-ink-2 text-sm">
              <span className="truncate">{log.requested_by_name ?? "someone"}</span>
              {log.received_bytes > 0 && (
                <span className="shrink-0">{formatBytes(log.received_bytes)}</span>
              )}
            </p>
            {log.status === "failed" && (
              <p className="line-clamp-2 text-ink-2 text-sm wrap-anywhere">{failure(log)}</p>
            )}
          </>
        );
      }}
    </Rows>
  );
}

export function CrashList({ items, ...rest }: ListProps<AgentCrash>) {
  return (
    <Rows {...rest} items={items} search={(crash) => ({ crash: crash.id })}>
      {(crash) => (
        <>
          <Headline time={crash.crashed_at}>
            <span className="max-w-32 truncate text-ink-2 text-sm">{crash.agent_version}</span>
          </Headline>
          <p className="text-sm">{crashCause(crash.cause)}</p>
          {crash.message && (
            <p className="line-clamp-2 font-mono text-ink-2 text-xs wrap-anywhere">
              {crash.message}
            </p>
          )}
        </>
      )}
    </Rows>
  );
}

function Headline({ time, children }: { time: string; children: ReactNode }) {
  return (
    <span className="flex items-baseline justify-between gap-3">
      <span className="font-medium">
        <DateTime time={time} />
      </span>
      {children}
    </span>
  );
}

function Rows<T extends { id: string }>({
  agentId,
  items,
  selected,
  onOpen,
  search,
  children,
}: ListProps<T> & { search: (item: T) => AgentLogSearch; children: (item: T) => ReactNode }) {
  const [all, setAll] = useState(false);
  const short = useWide() ? SHORT.wide : SHORT.narrow;
  const brief = items.filter((item, index) => index < short || item.id === selected);
  const more = items.length - brief.length;
  // A button in the place of one row would save nothing.
  const shown = all || more < 2 ? items : brief;
  return (
    <>
      <ul>
        {shown.map((item) => (
          <li key={item.id} className="border-b last:border-b-0">
            <Link
              to="/agents/$agentId/log"
              params={{ agentId }}
              search={search(item)}
              replace
              resetScroll={false}
              onClick={onOpen}
              aria-current={item.id === selected ? "true" : undefined}
              className={cn(
                "block px-4 py-2 hover:bg-hover focus-visible:-outline-offset-2",
                item.id === selected && "bg-accent-soft/60 hover:bg-accent-soft/60",
              )}
            >
              {children(item)}
            </Link>
          </li>
        ))}
      </ul>
      {more > 1 && (
        <div className="border-t px-2 py-1.5">
          <Button size="sm" variant="quiet" aria-expanded={all} onClick={() => setAll(!all)}>
            {all ? "Show fewer" : `Show ${more} more`}
          </Button>
        </div>
      )}
    </>
  );
}
