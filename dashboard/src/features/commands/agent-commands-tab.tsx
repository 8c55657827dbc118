import { useSuspenseQuery } from "@tanstack/react-query";
import { useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useRef, useState } from "react";
import type { Command } from "../../api/types";
import { Panel } from "../../ui/panel";
import { EmptyState } from "../../ui/states";
import { agentQuery } from "../agents/queries";
import { CommandTable } from "./command-table";
import { CommandView } from "./command-view";
import { Composer } from "./composer";

export function AgentCommandsTab() {
  const { agentId } = useParams({ from: "/app/agents/$agentId/commands" });
  const { command: selected } = useSearch({ from: "/app/agents/$agentId/commands" });
  const navigate = useNavigate({ from: "/agents/$agentId/commands" });
  const { agent } = useSuspenseQuery(agentQuery(agentId)).data;
  const [again, setAgain] = useState<Command | null>(null);
  const view = useRef<HTMLDivElement>(null);
  const open = (command: string) => {
    void navigate({ search: { command }, replace: true, resetScroll: false }).then(() =>
      view.current?.scrollIntoView({ block: "nearest", behavior: "smooth" }),
    );
  };
  return (
    <div className="grid gap-5">
      <Composer agent={agent} again={again} onStarted={open} />
      <div ref={view} className="scroll-mt-16">
        {selected && (
          <Panel flush>
            <CommandView
              key={selected}
              commandId={selected}
              onRunAgain={(c) => setAgain({ ...c })}
            />
          </Panel>
        )}
      </div>
      <Panel title="History" flush>
        <CommandTable
          filter={{ agent_id: agentId }}
          selected={selected}
          onOpen={({ id }) => open(id)}
          empty={
            <EmptyState title="Nothing has been run here yet">
              Commands and their output are kept for everyone who may see this machine.
            </EmptyState>
          }
        />
      </Panel>
    </div>
  );
}
