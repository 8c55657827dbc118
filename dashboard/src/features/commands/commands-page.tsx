import { useNavigate, useSearch } from "@tanstack/react-router";
import type { CommandStatus } from "../../api/types";
import { Sheet } from "../../ui/dialog";
import { FilterMenu } from "../../ui/filter-menu";
import { Panel } from "../../ui/panel";
import { EmptyState } from "../../ui/states";
import { PageHeader } from "../shell/page-header";
import { CommandTable } from "./command-table";
import { CommandView } from "./command-view";
import { COMMAND_STATUSES, commandState } from "./states";

const STATUS: readonly { value: CommandStatus | ""; label: string }[] = [
  { value: "", label: "Any status" },
  ...COMMAND_STATUSES.map((value) => ({ value, label: commandState(value).label })),
];

export function CommandsPage() {
  const { status, command } = useSearch({ from: "/app/commands" });
  const navigate = useNavigate({ from: "/commands" });
  return (
    <>
      <PageHeader
        title="Commands"
        documentTitle="Commands"
        meta="Everything that was run on the machines you can see. To run one, open a machine."
      />
      <Panel
        flush
        title="History"
        actions={
          <FilterMenu
            label="Status"
            options={STATUS}
            value={status ?? ""}
            onChange={(value) =>
              navigate({ search: { status: value || undefined }, replace: true })
            }
          />
        }
      >
        <CommandTable
          filter={status ? { status } : {}}
          selected={command}
          showAgent
          onOpen={({ id }) =>
            navigate({ search: (former) => ({ ...former, command: id }), resetScroll: false })
          }
          empty={
            status ? (
              <EmptyState title="No command in this state" />
            ) : (
              <EmptyState title="Nothing has been run yet">
                Open a machine and choose Run a command.
              </EmptyState>
            )
          }
        />
      </Panel>
      <Sheet
        open={command !== undefined}
        onOpenChange={(open) => {
          if (!open) {
            void navigate({
              search: (former) => ({ ...former, command: undefined }),
              resetScroll: false,
            });
          }
        }}
        title="Command"
      >
        {command && <CommandView commandId={command} showAgent />}
      </Sheet>
    </>
  );
}
