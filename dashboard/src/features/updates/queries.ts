import {
  infiniteQueryOptions,
  queryOptions,
  useMutation,
  useQueryClient,
} from "@tanstack/react-query";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import { byPages } from "../../api/query";
import { toast } from "../../ui/toast";
import type { RolloutStep } from "./words";

export const releasesQuery = queryOptions({
  queryKey: keys.releases,
  queryFn: ({ signal }) => unwrap(api.GET("/api/v1/updates/releases", { signal })),
});

export const versionsQuery = queryOptions({
  queryKey: keys.versions,
  queryFn: ({ signal }) => unwrap(api.GET("/api/v1/updates/versions", { signal })),
});

export const protocolsQuery = queryOptions({
  queryKey: keys.protocols,
  queryFn: ({ signal }) => unwrap(api.GET("/api/v1/updates/protocols", { signal })),
});

export const rolloutsQuery = infiniteQueryOptions({
  queryKey: keys.rollouts,
  queryFn: ({ pageParam, signal }) =>
    unwrap(
      api.GET("/api/v1/updates/rollouts", {
        params: { query: { limit: 10, cursor: pageParam } },
        signal,
      }),
    ),
  ...byPages,
  // Rings fill without an event for each machine.
  refetchInterval: 10_000,
});

export const updateStateQuery = (agentId: string) =>
  queryOptions({
    queryKey: keys.agentUpdateState(agentId),
    queryFn: ({ signal }) =>
      unwrap(
        api.GET("/api/v1/agents/{id}/update-state", { params: { path: { id: agentId } }, signal }),
      ),
  });

export const agentUpdatesQuery = (agentId: string) =>
  infiniteQueryOptions({
    queryKey: keys.agentUpdates(agentId),
    queryFn: ({ pageParam, signal }) =>
      unwrap(
        api.GET("/api/v1/agents/{id}/updates", {
          params: { path: { id: agentId }, query: { limit: 20, cursor: pageParam } },
          signal,
        }),
      ),
    ...byPages,
  });

export function useOrderUpdate(agentId: string) {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn: (order: "update" | "roll_back") => {
      const params = { path: { id: agentId } };
      return order === "update"
        ? unwrap(api.POST("/api/agents/{id}/update", { params }))
        : unwrap(api.POST("/api/v1/agents/{id}/roll-back", { params }));
    },
    onSettled: () =>
      Promise.all([
        queryClient.invalidateQueries({ queryKey: keys.agentUpdateState(agentId) }),
        queryClient.invalidateQueries({ queryKey: keys.agentUpdates(agentId) }),
      ]),
    onError: toast.failed,
  });
}

export function useStepRollout() {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn: ({ id, action }: { id: string; action: RolloutStep }) =>
      unwrap(
        api.POST("/api/v1/updates/rollouts/{id}/steps", {
          params: { path: { id } },
          body: { action },
        }),
      ),
    onSettled: () => queryClient.invalidateQueries({ queryKey: keys.rollouts }),
  });
}

export function useRetireProtocol() {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn: (version: string) =>
      unwrap(
        api.POST("/api/v1/updates/protocols/{version}/retire", { params: { path: { version } } }),
      ),
    onSuccess: (protocols) => queryClient.setQueryData(protocolsQuery.queryKey, protocols),
    onSettled: () => queryClient.invalidateQueries({ queryKey: keys.protocols }),
  });
}
