import { useParams } from "@tanstack/react-router";
import { Panel } from "../../ui/panel";
import { EmptyState } from "../../ui/states";
import { SessionTable } from "./session-table";

/** Who was on this machine. */
export function AgentSessionsTab() {
  const { agentId } = useParams({ from: "/app/agents/$agentId/sessions" });
  return (
    <Panel flush title="Who was on this machine">
      <SessionTable
        filter={{ agent_id: agentId }}
        showAgent={false}
        empty={
          <EmptyState title="No session yet">
            Who opens one, and for how long, is listed here.
          </EmptyState>
        }
      />
    </Panel>
  );
}
