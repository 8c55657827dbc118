import {
  infiniteQueryOptions,
  type QueryClient,
  queryOptions,
  useMutation,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";
import { useSyncExternalStore } from "react";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import { useLiveStatus, useLiveTopic } from "../../api/live-react";
import { byPages } from "../../api/query";
import type { Command, CommandRequest, CommandStatus } from "../../api/types";
import { OutputLog } from "../../lib/output-log";
import { toast } from "../../ui/toast";
import { isFinal } from "./states";

const POLL_INTERVAL_MS = 5_000;

export const commandsQuery = (filter: { agent_id?: string; status?: CommandStatus }) =>
  infiniteQueryOptions({
    queryKey: [...keys.commands, "list", filter],
    queryFn: ({ pageParam, signal }) =>
      unwrap(
        api.GET("/api/v1/commands", {
          params: { query: { ...filter, limit: 50, cursor: pageParam } },
          signal,
        }),
      ),
    ...byPages,
  });

/** Without its output, which comes in pieces by `useCommandOutput`. */
const commandQuery = (id: string) =>
  queryOptions({
    queryKey: keys.command(id),
    queryFn: ({ signal }): Promise<Command> =>
      unwrap(api.GET("/api/v1/commands/{id}", { params: { path: { id } }, signal })),
  });

/** A command's state. The live link reports every change; while it is down, the state is asked for. */
export function useCommand(id: string) {
  const live = useLiveStatus() === "live";
  return useQuery({
    ...commandQuery(id),
    refetchInterval: ({ state }) =>
      !live && state.data && !isFinal(state.data) ? POLL_INTERVAL_MS : false,
  });
}

/**
 * The output is complete, so the command has ended. Its state may have been read a moment before that, and with no
 * more output to follow nothing else would say so.
 */
async function refreshUnended(client: QueryClient, id: string) {
  const known = client.getQueryData<Command>(keys.command(id));
  if (known && !isFinal(known)) {
    await client.invalidateQueries({ queryKey: keys.command(id), exact: true });
  }
}

const outputQuery = (id: string) =>
  queryOptions({
    queryKey: keys.commandOutput(id),
    queryFn: async ({ client, signal }) => {
      const log = client.getQueryData<OutputLog>(keys.commandOutput(id)) ?? new OutputLog();
      for (;;) {
        const before = log.lastSeq;
        const { chunks, complete } = await unwrap(
          api.GET("/api/v1/commands/{id}/output", {
            params: { path: { id }, query: { after_seq: before } },
            signal,
          }),
        );
        log.append(chunks);
        if (complete) {
          log.finish();
          await refreshUnended(client, id);
        }
        // Output comes in pages; a page without anything new is the end of what there is.
        if (complete || log.lastSeq === before) return log;
      }
    },
    staleTime: Number.POSITIVE_INFINITY,
    structuralSharing: false,
  });

const never = () => () => {};

/** A command's output, growing while it runs. Missed pieces are fetched again after the link was lost. */
export function useCommandOutput(command: Command) {
  const queryClient = useQueryClient();
  const query = useQuery(outputQuery(command.id));
  const log = query.data;
  const complete = useSyncExternalStore(log?.subscribe ?? never, () => log?.complete ?? true);
  const streaming = log !== undefined && !complete;
  useLiveTopic(
    streaming ? `output:${command.id}` : null,
    () => ({
      kind: "command_output",
      command_id: command.id,
      after_seq: log?.lastSeq ?? 0,
    }),
    (message) => {
      if (message.type === "output") log?.append([message]);
      else if (message.type === "command") {
        queryClient.setQueryData(keys.command(command.id), {
          ...message.command,
          stdout: "",
          stderr: "",
        });
        if (isFinal(message.command)) {
          void queryClient.invalidateQueries({ queryKey: keys.commandOutput(command.id) });
        }
      }
    },
  );
  return query;
}

export function useRunCommand(agentId: string, onStarted: (commandId: string) => void) {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn: (body: CommandRequest) =>
      unwrap(api.POST("/api/agents/{id}/command", { params: { path: { id: agentId } }, body })),
    onSuccess: async ({ command_id }) => {
      onStarted(command_id);
      await queryClient.invalidateQueries({ queryKey: keys.commands });
    },
  });
}

export function useCancelCommand() {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn: (id: string) =>
      unwrap(api.POST("/api/commands/{id}/cancel", { params: { path: { id } } })),
    onSuccess: async (command) => {
      queryClient.setQueryData(keys.command(command.id), { ...command, stdout: "", stderr: "" });
      await queryClient.invalidateQueries({ queryKey: keys.commands });
    },
    onError: toast.failed,
  });
}
