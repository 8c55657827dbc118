import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { useState } from "react";
import { formatBytes, formatDuration } from "../../lib/format";
import { Fact, Facts, Panel } from "../../ui/panel";
import { EmptyState, ErrorState } from "../../ui/states";
import { DateTime, RelativeTime } from "../../ui/time";
import { Disks, DrillDown, type Moment } from "./drill-down";
import { Gauges, GaugesSkeleton } from "./gauges";
import { History } from "./history";
import { useLiveSamples } from "./live-samples";
import { agentQuery } from "./queries";
import { Sensors } from "./sensor-list";

export function LiveTab() {
  const { agentId } = useParams({ from: "/app/agents/$agentId/" });
  const detail = useQuery(agentQuery(agentId));
  const samples = useLiveSamples(agentId);
  const [moment, setMoment] = useState<Moment | null>(null);
  const now = samples.data?.at(-1);
  const hostname = detail.data?.agent.hostname ?? "this machine";
  return (
    <div className="grid gap-5">
      {samples.isPending ? (
        <GaugesSkeleton />
      ) : samples.isError && !samples.data ? (
        <Panel>
          <ErrorState error={samples.error} onRetry={() => samples.refetch()} />
        </Panel>
      ) : now ? (
        <div>
          <Gauges samples={samples.data} onDrill={(view, sample) => setMoment({ view, sample })} />
          {detail.data && !detail.data.agent.is_connected && (
            <p className="mt-2 text-ink-2 text-sm">
              The machine is not connected; these are its last known figures, from{" "}
              <RelativeTime time={now.t} />.
            </p>
          )}
        </div>
      ) : (
        <Panel>
          <EmptyState title="No figures yet">
            They arrive within seconds of the machine's first connection.
          </EmptyState>
        </Panel>
      )}
      <History agentId={agentId} onPick={(time) => setMoment({ view: "cpu", time })} />
      {now && (
        <div className="grid items-start gap-5 xl:grid-cols-[3fr_2fr]">
          <Panel title="Disks" flush>
            <Disks disks={now.disks} />
          </Panel>
          <Panel title="Right now">
            <Facts>
              <Fact label="Running for">{formatDuration(now.uptime_seconds)}</Fact>
              <Fact label="Started">
                <DateTime time={now.boot_time} />
              </Fact>
              <Fact label="Signed-in user">{now.logged_in_user ?? "nobody"}</Fact>
              {now.user_idle_seconds !== null && (
                <Fact label="User idle for">{formatDuration(now.user_idle_seconds)}</Fact>
              )}
              <Fact label="Swap">
                {now.swap_total_bytes > 0
                  ? `${formatBytes(now.swap_used_bytes)} of ${formatBytes(now.swap_total_bytes)}`
                  : "none"}
              </Fact>
              <Fact label="Processes">{now.process_count}</Fact>
              <Fact label="Public address" mono={Boolean(now.public_ip)}>
                {now.public_ip ?? "not collected"}
              </Fact>
            </Facts>
          </Panel>
        </div>
      )}
      {now && (
        <Panel title="Sensors" flush>
          <Sensors sensors={now.sensors} />
        </Panel>
      )}
      <DrillDown
        agentId={agentId}
        hostname={hostname}
        moment={moment}
        onClose={() => setMoment(null)}
      />
    </div>
  );
}
