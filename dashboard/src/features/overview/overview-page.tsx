import { useQuery } from "@tanstack/react-query";
import { Link, type LinkProps, useNavigate } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { Agent, Overview } from "../../api/types";
import { formatCount, formatOs, plural } from "../../lib/format";
import { Badge } from "../../ui/badge";
import { Button } from "../../ui/button";
import { cn } from "../../ui/cn";
import { Panel } from "../../ui/panel";
import { EmptyState, ErrorState, Skeleton, SkeletonRows } from "../../ui/states";
import { RelativeTime } from "../../ui/time";
import { AgentStatusLabel } from "../agents/agent-status";
import { CommandRows } from "../commands/command-table";
import { useCan, useSession } from "../session/session";
import { PageHeader } from "../shell/page-header";
import { GettingStarted } from "./getting-started";
import { HighestUse } from "./highest-use";
import { PlaceHealth } from "./place-health";
import { overviewQuery } from "./queries";

export function OverviewPage() {
  const session = useSession();
  const query = useQuery(overviewQuery);
  return (
    <>
      <PageHeader
        title="Overview"
        documentTitle="Overview"
        meta={
          query.data &&
          `${plural(query.data.agents.total, "machine")} at ${plural(query.data.sites_total, "site")} of ${plural(query.data.clients_total, "client")}`
        }
      />
      {query.isPending ? (
        <div role="status" aria-label="Loading" className="grid gap-5">
          <Skeleton className="h-28 rounded-lg" />
          <SkeletonRows rows={6} />
        </div>
      ) : query.isError && !query.data ? (
        <ErrorState error={query.error} onRetry={() => query.refetch()} />
      ) : query.data.agents.total === 0 ? (
        <div className="grid gap-5">
          <FirstSteps partner={session.partner?.name ?? "your organisation"} />
          <GettingStarted overview={query.data} />
        </div>
      ) : (
        <Fleet overview={query.data} />
      )}
    </>
  );
}

function FirstSteps({ partner }: { partner: string }) {
  const canEnroll = useCan("read_keys");
  return (
    <Panel>
      <EmptyState
        title={`No machines in ${partner} yet`}
        action={
          canEnroll && (
            <Button asChild variant="primary">
              <Link to="/enrollment">Enroll the first machine</Link>
            </Button>
          )
        }
      >
        One command on a machine brings it in. Its load, disks and processes show here seconds
        later.
      </EmptyState>
    </Panel>
  );
}

function Fleet({ overview }: { overview: Overview }) {
  const navigate = useNavigate();
  const { agents, alerts, commands, os } = overview;
  return (
    <div className="grid gap-5">
      <div className="grid overflow-hidden rounded-lg border border-line bg-line max-lg:gap-px lg:grid-cols-[2fr_1fr_1fr] lg:gap-px">
        <section aria-label="Machines" className="grid content-between gap-4 bg-surface p-4">
          <div className="flex flex-wrap items-baseline justify-between gap-x-4">
            <p className="font-medium text-2xl tracking-[-0.02em]">
              {formatCount(agents.online)}
              <span className="ml-2 font-normal text-base text-ink-2 tracking-normal">
                of {plural(agents.total, "machine")} online
              </span>
            </p>
            <ul className="flex flex-wrap gap-x-4 text-ink-2 text-sm">
              {os.map(({ os_type, count }) => (
                <li key={os_type}>
                  {formatOs(os_type)} {formatCount(count)}
                </li>
              ))}
            </ul>
          </div>
          <Presence agents={agents} />
        </section>
        <Figure
          label="Open alerts"
          value={alerts.open}
          tone={alerts.critical > 0 ? "text-crit" : alerts.open > 0 ? "text-warn" : undefined}
          link={{ to: "/alerts" }}
        >
          {alerts.open === 0
            ? alerts.acknowledged > 0
              ? `${formatCount(alerts.acknowledged)} acknowledged`
              : "Nothing needs you"
            : [
                alerts.critical > 0 && `${formatCount(alerts.critical)} critical`,
                alerts.warning > 0 && `${formatCount(alerts.warning)} warning`,
                alerts.info > 0 && `${formatCount(alerts.info)} info`,
                alerts.acknowledged > 0 && `${formatCount(alerts.acknowledged)} acknowledged`,
              ]
                .filter(Boolean)
                .join(", ")}
        </Figure>
        <Figure label="Commands running" value={commands.running} link={{ to: "/commands" }}>
          {`${formatCount(commands.queued)} queued, ${formatCount(commands.failed_24h)} failed in 24 h`}
        </Figure>
      </div>
      <GettingStarted overview={overview} />
      <div className="grid gap-5 xl:grid-cols-2">
        <Panel
          title="Needs attention"
          flush
          actions={
            <Button asChild size="sm" variant="quiet" className="-mr-2.5">
              <Link to="/agents" search={{ status: "offline" }}>
                All offline
              </Link>
            </Button>
          }
        >
          {overview.attention.length === 0 ? (
            <EmptyState title="All is well" className="py-10">
              No machine is offline, and none has an open alert.
            </EmptyState>
          ) : (
            <ul className="divide-y divide-line">
              {overview.attention.map((agent) => (
                <AttentionRow key={agent.id} agent={agent} />
              ))}
            </ul>
          )}
        </Panel>
        <Panel
          title="Latest commands"
          flush
          actions={
            <Button asChild size="sm" variant="quiet" className="-mr-2.5">
              <Link to="/commands">All commands</Link>
            </Button>
          }
        >
          {overview.recent_commands.length === 0 ? (
            <EmptyState title="Nothing has been run yet" className="py-10">
              Open a machine and choose Run a command.
            </EmptyState>
          ) : (
            <CommandRows
              commands={overview.recent_commands}
              showAgent
              brief
              onOpen={({ id, agent_id }) =>
                navigate({
                  to: "/agents/$agentId/commands",
                  params: { agentId: agent_id },
                  search: { command: id },
                })
              }
            />
          )}
        </Panel>
        <HighestUse />
        <PlaceHealth />
      </div>
    </div>
  );
}

/** Online, offline and pending as parts of one bar; each leads to its machines. */
function Presence({ agents }: { agents: Overview["agents"] }) {
  const parts = [
    { status: "online", label: "Online", count: agents.online, bar: "bg-ok", dot: "bg-ok" },
    {
      status: "offline",
      label: "Offline",
      count: agents.offline,
      bar: "bg-line-strong",
      dot: "border-[1.5px] border-idle",
    },
    { status: "pending", label: "Pending", count: agents.pending, bar: "bg-warn", dot: "bg-warn" },
  ] as const;
  return (
    <div className="grid gap-2.5">
      <div aria-hidden className="flex h-2 gap-0.5 overflow-hidden rounded-full">
        {parts
          .filter(({ count }) => count > 0)
          .map(({ status, count, bar }) => (
            <span key={status} className={cn("min-w-1", bar)} style={{ flexGrow: count }} />
          ))}
      </div>
      <ul className="flex flex-wrap gap-x-5 gap-y-1 text-base">
        {parts.map(({ status, label, count, dot }) => (
          <li key={status}>
            <Link
              to="/agents"
              search={{ status }}
              className="flex items-center gap-2 rounded-sm text-ink-2 hover:text-ink"
            >
              <span aria-hidden className={cn("size-2 rounded-full", dot)} />
              {label}
              <span className="font-medium text-ink">{formatCount(count)}</span>
            </Link>
          </li>
        ))}
      </ul>
    </div>
  );
}

function Figure({
  label,
  value,
  children,
  tone,
  link,
}: {
  label: string;
  value: number;
  children: ReactNode;
  tone?: string;
  link: LinkProps;
}) {
  return (
    <Link
      {...link}
      className="grid content-between gap-2 bg-surface p-4 hover:bg-hover focus-visible:-outline-offset-2"
    >
      <span className="font-medium text-ink-2 text-sm">{label}</span>
      <span>
        <span className={cn("block font-medium text-2xl tracking-[-0.02em]", tone)}>
          {formatCount(value)}
        </span>
        <span className="text-ink-2 text-sm">{children}</span>
      </span>
    </Link>
  );
}

function AttentionRow({ agent }: { agent: Agent }) {
  return (
    <li className="relative flex h-13 items-center gap-4 px-4 hover:bg-hover">
      <div className="min-w-0 flex-1">
        <Link
          to="/agents/$agentId"
          params={{ agentId: agent.id }}
          className="block truncate rounded-sm font-medium after:absolute after:inset-0"
        >
          {agent.hostname}
        </Link>
        <p className="truncate text-ink-2 text-sm">
          {agent.client_name} / {agent.site_name}
        </p>
      </div>
      {agent.open_alerts > 0 && (
        <Badge tone="warn">
          {agent.open_alerts} {agent.open_alerts === 1 ? "alert" : "alerts"}
        </Badge>
      )}
      <div className="w-24 text-right text-sm">
        <AgentStatusLabel agent={agent} />
        {agent.status === "offline" && (
          <p className="text-ink-3">
            <RelativeTime time={agent.last_seen} />
          </p>
        )}
      </div>
    </li>
  );
}
