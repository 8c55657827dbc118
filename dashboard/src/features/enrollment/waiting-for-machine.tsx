import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import { Button } from "../../ui/button";
import { RelativeTime } from "../../ui/time";
import { AgentStatusLabel } from "../agents/agent-status";

/** Shows machines that enroll at a site while someone is watching. */
export function WaitingForMachine({ siteId }: { siteId: string }) {
  // A machine that was enrolled just before this page opened counts too.
  const [since] = useState(() => Date.now() - 60_000);
  const agents = useQuery({
    queryKey: [...keys.agents, "arrivals", siteId],
    queryFn: () =>
      unwrap(
        api.GET("/api/v1/agents", {
          params: { query: { site_id: siteId, sort: "last_seen", order: "desc", limit: 20 } },
        }),
      ),
    // The live link announces arrivals; this is for when it is down.
    refetchInterval: 10_000,
  });
  const arrived = (agents.data?.items ?? []).filter(
    (agent) => new Date(agent.enrolled_at).getTime() >= since,
  );
  return (
    <div aria-live="polite" className="rounded-md border border-line bg-surface">
      {arrived.length === 0 ? (
        <p className="flex items-center gap-3 px-4 py-3.5 text-base text-ink-2">
          <span aria-hidden className="relative flex size-2.5">
            <span className="absolute inset-0 animate-ping rounded-full bg-accent/50" />
            <span className="relative size-2.5 rounded-full bg-accent" />
          </span>
          Waiting for the machine. It appears here by itself.
        </p>
      ) : (
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
                  <RelativeTime time={agent.enrolled_at} />
                </p>
              </div>
              <Button asChild size="sm">
                <Link to="/agents/$agentId" params={{ agentId: agent.id }}>
                  Open
                </Link>
              </Button>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
