import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { ZoomOut } from "lucide-react";
import { useMemo, useState } from "react";
import { formatPercent, formatRate } from "../../lib/format";
import { Button } from "../../ui/button";
import { cn } from "../../ui/cn";
import { Panel } from "../../ui/panel";
import { Segmented } from "../../ui/segmented";
import { EmptyState, ErrorState, Skeleton } from "../../ui/states";
import { TimeChart } from "../../ui/time-chart";
import { agentQuery, metricsQuery, RANGES, type Span } from "./queries";
import { RecordedGaps } from "./recorded-gaps";
import { type AlignedSeries, alignSeries, chartStart, type MetricName } from "./series";
import { MIN_SPAN_SECONDS, resolutionWords } from "./span";
import { SpanForm } from "./span-form";

const SPANS = [...RANGES, { value: "own", label: "From–to" }] as const;

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
            line(aligned, "CPU", "--series-cpu", "cpu_percent"),
            line(aligned, "Memory", "--series-memory", "memory_percent"),
            line(aligned, "Fullest disk", "--series-disk", "disk_percent"),
          ]
        : [],
    [aligned],
  );
  const network = useMemo(
    () =>
      aligned
        ? [
            line(aligned, "Received", "--series-rx", "rx_bytes_per_second"),
            line(aligned, "Sent", "--series-tx", "tx_bytes_per_second"),
          ]
        : [],
    [aligned],
  );
  const [isTyping, setIsTyping] = useState(false);
  const show = (begin: string, end: string) =>
    void navigate({
      search: { from: begin, to: end, range: chosen.value },
      resetScroll: false,
    });
  const select = (begin: number, end: number) => {
    if (end - begin < MIN_SPAN_SECONDS) return;
    show(new Date(begin * 1000).toISOString(), new Date(end * 1000).toISOString());
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
              onClick={() => {
                setIsTyping(false);
                void navigate({ search: { range: chosen.value }, resetScroll: false });
              }}
            >
              <ZoomOut aria-hidden />
              Zoom out
            </Button>
          )}
          <Segmented
            label="Span"
            options={SPANS}
            value={isTyping || zoomed ? "own" : chosen.value}
            onChange={(value) => {
              setIsTyping(value === "own");
              if (value !== "own") {
                void navigate({ search: { range: value }, resetScroll: false });
              }
            }}
          />
        </>
      }
    >
      {isTyping && (
        <SpanForm
          from={new Date(zoomed ? from : Date.now() - chosen.seconds * 1000)}
          to={new Date(zoomed ? to : Date.now())}
          onShow={show}
        />
      )}
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
            {resolutionWords(query.data)} The line is the average, the band around it reaches from
            the lowest sample to the highest. Drag to zoom in, click to see the processes of that
            moment.
          </p>
        </div>
      ) : (
        <EmptyState title="No samples in this span">
          Either the machine was off, or it had not enrolled yet.
        </EmptyState>
      )}
      <RecordedGaps agentId={agentId} span={span} />
    </Panel>
  );
}

function line(aligned: AlignedSeries, label: string, color: string, metric: MetricName) {
  return {
    label,
    color,
    values: aligned.values[metric],
    least: aligned.least[metric],
    most: aligned.most[metric],
  };
}
