import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { X } from "lucide-react";
import { rowsOf } from "../../api/query";
import type { Alert } from "../../api/types";
import { useWide } from "../../lib/media";
import { Badge, Status, type Tone } from "../../ui/badge";
import { Button } from "../../ui/button";
import { Sheet } from "../../ui/dialog";
import { FilterMenu } from "../../ui/filter-menu";
import { PagedList } from "../../ui/paged-list";
import { Fact, Facts, Panel } from "../../ui/panel";
import { Segmented } from "../../ui/segmented";
import { EmptyState } from "../../ui/states";
import { Table, Td, Th, Tr } from "../../ui/table";
import { DateTime, RelativeTime } from "../../ui/time";
import { useCan, useDenied } from "../session/session";
import { PageHeader } from "../shell/page-header";
import { alertCrash, alertFacts, alertLine } from "./detail";
import { alertsQuery, useDeleteAlert, useSettleAlert } from "./queries";

const STATUS = [
  { value: "open", label: "Open" },
  { value: "acknowledged", label: "Acknowledged" },
  { value: "resolved", label: "Resolved" },
  { value: "all", label: "All" },
] as const;
const SEVERITY = [
  { value: "", label: "Any severity" },
  { value: "critical", label: "Critical" },
  { value: "warning", label: "Warning" },
  { value: "info", label: "Info" },
] as const;

const TONES: Record<Alert["severity"], Tone> = { critical: "crit", warning: "warn", info: "idle" };
const SEVERITIES: Record<Alert["severity"], string> = {
  critical: "Critical",
  warning: "Warning",
  info: "Info",
};
const STATES: Record<Alert["status"], string> = {
  open: "Open",
  acknowledged: "Acknowledged",
  resolved: "Resolved",
};

export function AlertsPage() {
  const { status = "open", severity, agent_id, alert: openId } = useSearch({ from: "/app/alerts" });
  const navigate = useNavigate({ from: "/alerts" });
  const wide = useWide();
  const query = useInfiniteQuery(
    alertsQuery({
      ...(status !== "all" && { status }),
      ...(severity && { severity }),
      ...(agent_id && { agent_id }),
    }),
  );
  const alerts = rowsOf(query.data);
  const shown = alerts.find(({ id }) => id === openId) ?? null;
  const open = (id: string | undefined) =>
    navigate({ search: (former) => ({ ...former, alert: id }), resetScroll: false });
  return (
    <>
      <PageHeader
        title="Alerts"
        documentTitle="Alerts"
        meta="What the machines and the server ask a person to look at."
      />
      <Panel
        flush
        title={
          <Segmented
            label="Status"
            options={STATUS}
            value={status}
            onChange={(next) =>
              navigate({ search: { status: next, severity, agent_id }, replace: true })
            }
          />
        }
        actions={
          <>
            {agent_id && (
              <Button
                size="sm"
                variant="quiet"
                onClick={() => navigate({ search: { status, severity }, replace: true })}
              >
                <X aria-hidden />
                Only one machine
              </Button>
            )}
            <FilterMenu
              label="Severity"
              options={SEVERITY}
              value={severity ?? ""}
              onChange={(next) =>
                navigate({
                  search: { status, severity: next || undefined, agent_id },
                  replace: true,
                })
              }
            />
          </>
        }
      >
        <PagedList
          query={query}
          empty={
            <EmptyState title={status === "open" ? "No open alerts" : "No alerts here"}>
              {status === "open"
                ? "Nothing needs you right now."
                : "Choose another status or severity."}
            </EmptyState>
          }
        >
          <Table>
            <thead>
              <tr>
                <Th>Severity</Th>
                <Th>Alert</Th>
                {wide && <Th>Agent</Th>}
                {wide && <Th>Last raised</Th>}
                {wide && status === "all" && <Th>Status</Th>}
                {wide && (
                  <Th>
                    <span className="sr-only">Actions</span>
                  </Th>
                )}
              </tr>
            </thead>
            <tbody>
              {alerts.map((alert) => (
                <Tr key={alert.id}>
                  <Td className="w-28">
                    <SeverityLabel alert={alert} />
                  </Td>
                  <Td className="max-w-0">
                    <button
                      type="button"
                      onClick={() => open(alert.id)}
                      className="block w-full truncate rounded-sm text-left font-medium hover:underline"
                    >
                      {alert.title}
                    </button>
                    <p className="truncate text-ink-2 text-sm">
                      {wide ? alertLine(alert) : (alert.agent_hostname ?? alertLine(alert))}
                    </p>
                  </Td>
                  {wide && (
                    <Td className="w-48 max-w-48 truncate">
                      <AgentLink alert={alert} />
                    </Td>
                  )}
                  {wide && (
                    <Td className="w-32 text-ink-2">
                      <RelativeTime time={alert.last_raised_at} />
                      {alert.count > 1 && (
                        <span className="block text-ink-3 text-sm">{alert.count} times</span>
                      )}
                    </Td>
                  )}
                  {wide && status === "all" && <Td className="w-32">{STATES[alert.status]}</Td>}
                  {wide && (
                    <Td className="w-52 text-right">
                      <AlertActions alert={alert} />
                    </Td>
                  )}
                </Tr>
              ))}
            </tbody>
          </Table>
        </PagedList>
      </Panel>
      <Sheet
        open={shown !== null}
        onOpenChange={(next) => {
          if (!next) void open(undefined);
        }}
        title={shown?.title ?? "Alert"}
        description={shown && <SeverityLabel alert={shown} />}
      >
        {shown && <AlertDetail alert={shown} />}
      </Sheet>
    </>
  );
}

function SeverityLabel({ alert }: { alert: Alert }) {
  return (
    <Status tone={TONES[alert.severity] ?? "idle"}>
      {SEVERITIES[alert.severity] ?? alert.severity}
    </Status>
  );
}

/** Leads to the machine; where the alert tells of a crash, to what is known of it. */
export function AgentLink({ alert }: { alert: Alert }) {
  const crash = useReadableCrash(alert);
  const { agent_id: agentId } = alert;
  if (!agentId) return <span className="text-ink-3">–</span>;
  const params = { agentId };
  const className = "rounded-sm text-accent hover:underline";
  const name = alert.agent_hostname ?? "agent";
  return crash ? (
    <Link to="/agents/$agentId/log" params={params} search={{ crash }} className={className}>
      {name}
    </Link>
  ) : (
    <Link to="/agents/$agentId" params={params} className={className}>
      {name}
    </Link>
  );
}

function useReadableCrash(alert: Alert): string | null {
  const crash = alertCrash(alert);
  return useCan("read_agent_logs") && alert.agent_id ? crash : null;
}

/** The way from the alert of a crash to the log before it. */
export function CrashLink({ alert }: { alert: Alert }) {
  const crash = useReadableCrash(alert);
  if (!crash || !alert.agent_id) return null;
  return (
    <Button asChild size="sm">
      <Link to="/agents/$agentId/log" params={{ agentId: alert.agent_id }} search={{ crash }}>
        Read the log before it
      </Link>
    </Button>
  );
}

function AlertActions({ alert }: { alert: Alert }) {
  const settle = useSettleAlert();
  const denied = useDenied("manage_alerts");
  const remove = useDeleteAlert();
  if (alert.status === "resolved") {
    return (
      <Button
        size="sm"
        variant="quiet"
        disabledReason={denied}
        busy={remove.isPending}
        onClick={() => remove.mutate(alert.id)}
      >
        Delete
      </Button>
    );
  }
  const busy = (as: "acknowledge" | "resolve") => settle.isPending && settle.variables.as === as;
  return (
    <span className="inline-flex gap-2">
      {alert.status === "open" && (
        <Button
          size="sm"
          disabledReason={denied}
          busy={busy("acknowledge")}
          onClick={() => settle.mutate({ id: alert.id, as: "acknowledge" })}
        >
          Acknowledge
        </Button>
      )}
      <Button
        size="sm"
        disabledReason={denied}
        busy={busy("resolve")}
        onClick={() => settle.mutate({ id: alert.id, as: "resolve" })}
      >
        Resolve
      </Button>
    </span>
  );
}

function AlertDetail({ alert }: { alert: Alert }) {
  return (
    <div className="grid gap-5 p-5">
      <Facts>
        <Fact label="Status">
          <Badge tone={alert.status === "open" ? "warn" : "idle"}>{STATES[alert.status]}</Badge>
        </Fact>
        <Fact label="Agent">
          <AgentLink alert={alert} />
        </Fact>
        {alertFacts(alert).map(({ name, value }) => (
          <Fact key={name} label={name}>
            {value}
          </Fact>
        ))}
        <Fact label="First raised">
          <DateTime time={alert.raised_at} />
        </Fact>
        <Fact label="Last raised">
          <DateTime time={alert.last_raised_at} />
          {alert.count > 1 && ` (${alert.count} times)`}
        </Fact>
        {alert.acknowledged_at && (
          <Fact label="Acknowledged">
            <DateTime time={alert.acknowledged_at} /> by {alert.acknowledged_by_name ?? "someone"}
          </Fact>
        )}
        {alert.resolved_at && (
          <Fact label="Resolved">
            <DateTime time={alert.resolved_at} />{" "}
            {alert.resolved_by_name ? `by ${alert.resolved_by_name}` : "by itself"}
          </Fact>
        )}
        <Fact label="Kind" mono>
          {alert.kind}
        </Fact>
      </Facts>
      <div className="flex flex-wrap gap-2">
        <CrashLink alert={alert} />
        <AlertActions alert={alert} />
      </div>
    </div>
  );
}
