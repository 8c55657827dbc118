import { queryOptions, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import { toast } from "../../ui/toast";

/** How much has come is not told live, only that all has. */
const POLL_INTERVAL_MS = 2_000;

export const agentLogsQuery = (agentId: string) =>
  queryOptions({
    queryKey: keys.agentLogs(agentId),
    queryFn: ({ signal }) =>
      unwrap(api.GET("/api/v1/agents/{id}/logs", { params: { path: { id: agentId } }, signal })),
  });

/** The logs that were asked for, newest first. */
export function useAgentLogs(agentId: string) {
  return useQuery({
    ...agentLogsQuery(agentId),
    refetchInterval: ({ state }) =>
      state.data?.some(({ status }) => status === "requested") ? POLL_INTERVAL_MS : false,
  });
}

export const agentCrashesQuery = (agentId: string) =>
  queryOptions({
    queryKey: keys.agentCrashes(agentId),
    queryFn: ({ signal }) =>
      unwrap(api.GET("/api/v1/agents/{id}/crashes", { params: { path: { id: agentId } }, signal })),
  });

/** For a log that is over: its text never changes, and every reading of it is in the audit log. */
export const agentLogQuery = (id: string) =>
  queryOptions({
    queryKey: keys.agentLog(id),
    queryFn: ({ signal }) =>
      unwrap(api.GET("/api/v1/agent-logs/{id}", { params: { path: { id } }, signal })),
    staleTime: ({ state }) => (state.data?.log.status === "requested" ? 0 : "static"),
  });

/** Never changes, as above. */
export const agentCrashQuery = (id: string) =>
  queryOptions({
    queryKey: keys.agentCrash(id),
    queryFn: ({ signal }) =>
      unwrap(api.GET("/api/v1/agent-crashes/{id}", { params: { path: { id } }, signal })),
    staleTime: "static",
  });

export function useAskForLog(agentId: string) {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn: () =>
      unwrap(api.POST("/api/v1/agents/{id}/logs", { params: { path: { id: agentId } } })),
    onSuccess: async (log) => {
      queryClient.setQueryData(agentLogsQuery(agentId).queryKey, (logs) => [
        log,
        ...(logs ?? []).filter(({ id }) => id !== log.id),
      ]);
      await queryClient.invalidateQueries({ queryKey: keys.agentLogs(agentId) });
    },
    onError: async (error) => {
      toast.failed(error);
      // It was refused for what the machine is by now.
      await queryClient.invalidateQueries({ queryKey: keys.agent(agentId) });
    },
  });
}
