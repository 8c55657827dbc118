import { useInfiniteQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { rowsOf } from "../../api/query";
import type { Command, CommandStatus } from "../../api/types";
import { formatElapsed } from "../../lib/format";
import { useWide } from "../../lib/media";
import { useNow } from "../../lib/now";
import { cn } from "../../ui/cn";
import { PagedList } from "../../ui/paged-list";
import { Table, Td, Th, Tr } from "../../ui/table";
import { RelativeTime } from "../../ui/time";
import { CommandStatusLabel } from "./command-view";
import { commandsQuery } from "./queries";
import { commandTitle, elapsedMs } from "./states";

export function CommandTable({
  filter,
  selected,
  onOpen,
  empty,
  showAgent = false,
}: {
  filter: { agent_id?: string; status?: CommandStatus };
  selected?: string;
  onOpen: (command: Command) => void;
  empty: ReactNode;
  showAgent?: boolean;
}) {
  const query = useInfiniteQuery(commandsQuery(filter));
  return (
    <PagedList query={query} empty={empty}>
      <CommandRows
        commands={rowsOf(query.data)}
        selected={selected}
        onOpen={onOpen}
        showAgent={showAgent}
      />
    </PagedList>
  );
}

export function CommandRows({
  commands,
  selected,
  onOpen,
  showAgent,
  brief = false,
}: {
  commands: readonly Command[];
  selected?: string;
  onOpen: (command: Command) => void;
  showAgent: boolean;
  /** Fewer columns, for half a page. */
  brief?: boolean;
}) {
  const now = useNow();
  const wide = useWide();
  const full = wide && !brief;
  return (
    <Table>
      <thead>
        <tr>
          <Th>Command</Th>
          {showAgent && full && <Th>Agent</Th>}
          <Th>Status</Th>
          {full && <Th className="text-right">Took</Th>}
          {full && <Th>By</Th>}
          {wide && <Th>When</Th>}
        </tr>
      </thead>
      <tbody>
        {commands.map((command) => {
          const elapsed = elapsedMs(command, now);
          return (
            <Tr
              key={command.id}
              className={cn("relative", command.id === selected && "bg-accent-soft/60")}
            >
              <Td className="max-w-0">
                <button
                  type="button"
                  onClick={() => onOpen(command)}
                  className="block w-full truncate rounded-sm text-left font-mono text-sm after:absolute after:inset-0"
                >
                  {commandTitle(command)}
                </button>
                {!full && (
                  <p className="truncate text-ink-2 text-sm">
                    {showAgent && command.agent_hostname}
                    {showAgent && !wide && ", "}
                    {!wide && <RelativeTime time={command.created_at} />}
                  </p>
                )}
              </Td>
              {showAgent && full && <Td className="max-w-48 truncate">{command.agent_hostname}</Td>}
              <Td className="w-32">
                <CommandStatusLabel command={command} />
                {command.status === "failed" && command.exit_code !== null && (
                  <span className="ml-1.5 text-ink-3 text-sm">({command.exit_code})</span>
                )}
              </Td>
              {full && (
                <Td className="w-24 whitespace-nowrap text-right text-ink-2">
                  {elapsed === null ? "–" : formatElapsed(elapsed)}
                </Td>
              )}
              {full && (
                <Td className="w-40 max-w-40 truncate text-ink-2">
                  {command.created_by_name ?? "–"}
                </Td>
              )}
              {wide && (
                <Td className="w-28 text-ink-2">
                  <RelativeTime time={command.created_at} />
                </Td>
              )}
            </Tr>
          );
        })}
      </tbody>
    </Table>
  );
}
