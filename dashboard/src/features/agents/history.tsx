import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { ZoomOut } from "lucide-react";
import { useMemo } from "react";
import { formatDuration, formatPercent, formatRate } from "../../lib/format";
import { Button } from "../../ui/button";
import { cn } from "../../ui/cn";
import { Panel } from "../../ui/panel";
import { Segmented } from "../../ui/segmented";
import { EmptyState, ErrorState, Skeleton } from "../../ui/states";
import { TimeChart } from "../../ui/time-chart";
import { agentQuery, metricsQuery, RANGES, type Span } from "./queries";
import { alignSeries, chartStart } from "./series";

const MIN_SPAN_SECONDS = 60;

/** The machine's past. The span lives in the address, so that a look at it can be shared. */
export function History({ agentId, onPick }: { agentId: string; onPick: (time: string) => void }) {
  const { from, to, range } = useSearch({ from: "/app/agents/$agentId/" });
  const navigate = useNavigate({ from: "/agents/$agentId/" });
  const chosen = RANGES.find(({ value }) => value === range) ?? RANGES[0];
  const zoomed = from !== undefined && to !== undefined;
  const span: Span = zoomed ? { from, to } : { seconds: chosen.seconds };
  const query = useQuery(metricsQuery(agentId, span));
  const aligned = useMemo(() => (query.data ? alignSeries(query.data) : null), [query.data]);
  const enrolledAt = useQuery(agentQuery(agentId)).data?.agent.enrolled_at;
  const asked = {
    from: new Date(query.data?.from ?? 0).getTime() / 1000,
    to: new Date(query.data?.to ?? 0).getTime() / 1000,
  };
  const start = zoomed
    ? asked.from
    : chartStart(
        asked,
        aligned?.times ?? [],
        enrolledAt ? new Date(enrolledAt).getTime() / 1000 : null,
      );
  const load = useMemo(
    () =>
      aligned
        ? [
            { label: "CPU", color: "--series-cpu", values: aligned.values.cpu_percent },
            { label: "Memory", color: "--series-memory", values: aligned.values.memory_percent },
            { label: "Fullest disk", color: "--series-disk", values: aligned.values.disk_percent },
          ]
        : [],
    [aligned],
  );
  const network = useMemo(
    () =>
      aligned
        ? [
            { label: "Received", color: "--series-rx", values: aligned.values.rx_bytes_per_second },
            { label: "Sent", color: "--series-tx", values: aligned.values.tx_bytes_per_second },
          ]
        : [],
    [aligned],
  );
  const select = (begin: number, end: number) => {
    if (end - begin < MIN_SPAN_SECONDS) return;
    void navigate({
      search: {
        from: new Date(begin * 1000).toISOString(),
        to: new Date(end * 1000).toISOString(),
        range: chosen.value,
      },
      resetScroll: false,
    });
  };
  // A point stands for what follows its time: the sample looked for is the last one within it.
  const pick = (time: number) => {
    const end = (time + (query.data?.resolution_seconds ?? 0)) * 1000;
    onPick(new Date(Math.min(end, Date.now())).toISOString());
  };
  return (
    <Panel
      title="History"
      actions={
        <>
          {zoomed && (
            <Button
              size="sm"
              onClick={() => navigate({ search: { range: chosen.value }, resetScroll: false })}
            >
              <ZoomOut aria-hidden />
              Zoom out
            </Button>
          )}
          <Segmented
            label="Span"
            options={RANGES}
            value={zoomed ? null : chosen.value}
            onChange={(value) => navigate({ search: { range: value }, resetScroll: false })}
          />
        </>
      }
    >
      {query.isPending ? (
        <div role="status" aria-label="Loading" className="grid gap-4">
          <Skeleton className="h-48" />
          <Skeleton className="h-32" />
        </div>
      ) : query.isError && !query.data ? (
        <ErrorState error={query.error} onRetry={() => query.refetch()} />
      ) : aligned && query.data && aligned.times.length > 0 ? (
        <div className={cn("grid gap-4", query.isPlaceholderData && "opacity-60")}>
          <TimeChart
            label="Load"
            times={aligned.times}
            series={load}
            from={start}
            to={asked.to}
            max={100}
            format={(value) => formatPercent(value, 0)}
            height={190}
            syncKey={agentId}
            onSelect={select}
            onPick={pick}
          />
          <TimeChart
            label="Network"
            times={aligned.times}
            series={network}
            from={start}
            to={asked.to}
            format={formatRate}
            height={130}
            syncKey={agentId}
            onSelect={select}
            onPick={pick}
          />
          <p className="text-ink-3 text-sm">
            {start > asked.from &&
              "The machine enrolled within this span; its history begins here. "}
            One point stands for {formatDuration(query.data.resolution_seconds)}. Drag to zoom in,
            click to see the processes of that moment.
          </p>
        </div>
      ) : (
        <EmptyState title="No samples in this span">
          Either the machine was off, or it had not enrolled yet.
        </EmptyState>
      )}
    </Panel>
  );
}
