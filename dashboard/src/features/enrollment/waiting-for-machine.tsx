import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import { rowsOf } from "../../api/query";
import { Button } from "../../ui/button";
import { RelativeTime } from "../../ui/time";
import { AgentStatusLabel } from "../agents/agent-status";
import { installReportsQuery } from "./queries";

/** Shows machines that enroll at a site, and installers that fail there, while someone is watching. */
export function WaitingForMachine({ siteId }: { siteId: string }) {
  // A machine that was enrolled just before this page opened counts too.
  const [since] = useState(() => Date.now() - 60_000);
  const agents = useQuery({
    queryKey: [...keys.agents, "arrivals", siteId],
    queryFn: () =>
      unwrap(
        api.GET("/api/v1/agents", {
          params: { query: { site_id: siteId, sort: "asked_at", order: "desc", limit: 20 } },
        }),
      ),
    // The live link announces arrivals; this is for when it is down.
    refetchInterval: 10_000,
  });
  const reports = useInfiniteQuery({ ...installReportsQuery(siteId), refetchInterval: 10_000 });
  const isNew = (time: string) => new Date(time).getTime() >= since;
  const arrived = (agents.data?.items ?? []).filter((agent) => isNew(agent.asked_at));
  const failed = rowsOf(reports.data).filter((report) => isNew(report.reported_at));
  return (
    <div aria-live="polite" className="rounded-md border border-line bg-surface">
      {arrived.length === 0 && (
        <p className="flex items-center gap-3 px-4 py-3.5 text-base text-ink-2">
          <span aria-hidden className="relative flex size-2.5">
            <span className="absolute inset-0 animate-ping rounded-full bg-accent/50" />
            <span className="relative size-2.5 rounded-full bg-accent" />
          </span>
          Waiting for the machine. It appears here by itself.
        </p>
      )}
      {arrived.length + failed.length > 0 && (
        <ul className="divide-y divide-line">
          {arrived.map((agent) => (
            <li
              key={agent.id}
              className="flex flex-wrap items-center justify-between gap-3 px-4 py-2.5"
            >
              <div className="min-w-0">
                <p className="font-medium wrap-anywhere">{agent.hostname}</p>
                <p className="text-ink-2 text-sm">
                  <AgentStatusLabel agent={agent} /> · enrolled{" "}
                  <RelativeTime time={agent.asked_at} />
                </p>
              </div>
              <Button asChild size="sm">
                <Link to="/agents/$agentId" params={{ agentId: agent.id }}>
                  Open
                </Link>
              </Button>
            </li>
          ))}
          {failed.map((report) => (
            <li key={report.id} className="grid gap-0.5 px-4 py-2.5">
              <p className="text-base">
                <span className="font-medium text-crit wrap-anywhere">
                  {report.hostname ?? "A machine"} could not be installed
                </span>{" "}
                <span className="text-ink-2">at {report.stage}</span>
              </p>
              <p className="font-mono text-ink-2 text-sm wrap-anywhere">{report.error}</p>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
