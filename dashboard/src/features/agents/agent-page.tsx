import { useQuery } from "@tanstack/react-query";
import { Link, Outlet, useParams } from "@tanstack/react-router";
import { Ellipsis } from "lucide-react";
import { useState } from "react";
import type { Agent } from "../../api/types";
import { formatDuration } from "../../lib/format";
import { Badge } from "../../ui/badge";
import { Button } from "../../ui/button";
import { Menu, MenuItem, MenuSeparator } from "../../ui/menu";
import { TabLinks, tabLink } from "../../ui/tab-links";
import { RelativeTime } from "../../ui/time";
import { useCan } from "../session/session";
import { ObjectFallback } from "../shell/fallbacks";
import { PageHeader } from "../shell/page-header";
import { OpenSession } from "../tunnel/open-session";
import { DeleteAgent, MoveAgent } from "./agent-actions";
import { MergeAgent, ReenrollAgent, RetireAgent, RetiredNotice } from "./agent-life";
import { AgentStatusLabel } from "./agent-status";
import { UninstallAgent, UninstallNotice } from "./agent-uninstall";
import { PendingNotice } from "./pending-notice";
import { agentQuery } from "./queries";

export function AgentPage() {
  const { agentId } = useParams({ from: "/app/agents/$agentId" });
  const query = useQuery(agentQuery(agentId));
  const canReadLogs = useCan("read_agent_logs");
  const canUseTunnel = useCan("use_tunnel");
  if (!query.data) return <ObjectFallback kind="Agent" query={query} />;
  const { agent, uninstall } = query.data;
  return (
    <>
      <PageHeader
        documentTitle={agent.hostname}
        title={agent.hostname}
        crumbs={[
          { label: "Clients", link: { to: "/clients" } },
          {
            label: agent.client_name,
            link: { to: "/clients/$clientId", params: { clientId: agent.client_id } },
          },
          {
            label: agent.site_name,
            link: { to: "/sites/$siteId", params: { siteId: agent.site_id } },
          },
        ]}
        status={
          <span className="flex items-center gap-2 text-base">
            <AgentStatusLabel agent={agent} />
            {agent.duplicate_hostname && <Badge tone="warn">duplicate host name</Badge>}
            {agent.open_alerts > 0 && (
              <Link
                to="/alerts"
                search={{ agent_id: agent.id }}
                className="rounded-sm bg-warn-soft px-1.5 font-medium text-warn text-xs leading-5 hover:underline"
              >
                {agent.open_alerts} open {agent.open_alerts === 1 ? "alert" : "alerts"}
              </Link>
            )}
          </span>
        }
        meta={<Meta agent={agent} />}
        actions={<Actions agent={agent} />}
      />
      {agent.status === "pending" && <PendingNotice agent={agent} />}
      {agent.status === "retired" && <RetiredNotice agent={agent} />}
      {uninstall && <UninstallNotice agent={agent} uninstall={uninstall} />}
      <TabLinks label="Agent">
        <Link
          to="/agents/$agentId"
          params={{ agentId }}
          activeOptions={{ exact: true, includeSearch: false }}
          className={tabLink}
        >
          Live
        </Link>
        <Link
          to="/agents/$agentId/commands"
          params={{ agentId }}
          activeOptions={{ includeSearch: false }}
          className={tabLink}
        >
          Commands
        </Link>
        <Link to="/agents/$agentId/details" params={{ agentId }} className={tabLink}>
          Hardware and network
        </Link>
        <Link to="/agents/$agentId/policy" params={{ agentId }} className={tabLink}>
          Policy
        </Link>
        <Link to="/agents/$agentId/updates" params={{ agentId }} className={tabLink}>
          Updates
        </Link>
        <Link to="/agents/$agentId/connections" params={{ agentId }} className={tabLink}>
          Connections
        </Link>
        {canUseTunnel && (
          <Link to="/agents/$agentId/sessions" params={{ agentId }} className={tabLink}>
            Sessions
          </Link>
        )}
        {canReadLogs && (
          <Link
            to="/agents/$agentId/log"
            params={{ agentId }}
            activeOptions={{ includeSearch: false }}
            className={tabLink}
          >
            Log
          </Link>
        )}
      </TabLinks>
      <Outlet />
    </>
  );
}

function Meta({ agent }: { agent: Agent }) {
  return (
    <p className="flex flex-wrap gap-x-4 gap-y-0.5">
      <span>{agent.os_version || agent.os_type}</span>
      <span>{agent.arch}</span>
      {agent.is_connected ? (
        agent.uptime_seconds !== null && <span>up {formatDuration(agent.uptime_seconds)}</span>
      ) : (
        <span>
          last seen <RelativeTime time={agent.last_seen} />
          {agent.status === "offline" && (
            <>
              {": "}
              <Link
                to="/agents/$agentId/connections"
                params={{ agentId: agent.id }}
                className="rounded-sm text-accent underline hover:no-underline"
              >
                why is it offline?
              </Link>
            </>
          )}
        </span>
      )}
      {agent.logged_in_user && (
        <span className="wrap-anywhere">{agent.logged_in_user} signed in</span>
      )}
      <span>agent {agent.agent_version}</span>
    </p>
  );
}

function Actions({ agent }: { agent: Agent }) {
  const [dialog, setDialog] = useState<
    "move" | "merge" | "reenroll" | "retire" | "uninstall" | "delete" | null
  >(null);
  const canManage = useCan("manage_agents");
  const canManageKeys = useCan("manage_keys");
  const canRun = useCan("run_commands");
  const isActive = agent.status === "online" || agent.status === "offline";
  return (
    <>
      <OpenSession agent={agent} />
      {canRun && isActive && (
        <Button asChild>
          <Link to="/agents/$agentId/commands" params={{ agentId: agent.id }}>
            Run a command
          </Link>
        </Button>
      )}
      {canManage && (
        <Menu
          trigger={
            <Button size="icon" aria-label={`More actions for ${agent.hostname}`}>
              <Ellipsis aria-hidden />
            </Button>
          }
        >
          <MenuItem onSelect={() => setDialog("move")}>Move to another site</MenuItem>
          {isActive && (
            <MenuItem onSelect={() => setDialog("merge")}>Merge another record into it</MenuItem>
          )}
          {isActive && canManageKeys && (
            <MenuItem onSelect={() => setDialog("reenroll")}>Let it enroll anew</MenuItem>
          )}
          <MenuSeparator />
          {isActive && (
            <MenuItem danger onSelect={() => setDialog("retire")}>
              Retire
            </MenuItem>
          )}
          {isActive && (
            <MenuItem danger onSelect={() => setDialog("uninstall")}>
              Uninstall
            </MenuItem>
          )}
          <MenuItem danger onSelect={() => setDialog("delete")}>
            Delete agent
          </MenuItem>
        </Menu>
      )}
      <MoveAgent agent={agent} open={dialog === "move"} onClose={() => setDialog(null)} />
      <MergeAgent agent={agent} open={dialog === "merge"} onClose={() => setDialog(null)} />
      <ReenrollAgent agent={agent} open={dialog === "reenroll"} onClose={() => setDialog(null)} />
      <RetireAgent agent={agent} open={dialog === "retire"} onClose={() => setDialog(null)} />
      <UninstallAgent agent={agent} open={dialog === "uninstall"} onClose={() => setDialog(null)} />
      <DeleteAgent agent={agent} open={dialog === "delete"} onClose={() => setDialog(null)} />
    </>
  );
}
