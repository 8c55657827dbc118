import { infiniteQueryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import { byPages } from "../../api/query";
import type { AlertStatus, Severity } from "../../api/types";
import { toast } from "../../ui/toast";

export const alertsQuery = (filter: {
  status?: AlertStatus;
  severity?: Severity;
  agent_id?: string;
}) =>
  infiniteQueryOptions({
    queryKey: [...keys.alerts, "list", filter],
    queryFn: ({ pageParam, signal }) =>
      unwrap(
        api.GET("/api/v1/alerts", {
          params: { query: { ...filter, limit: 50, cursor: pageParam } },
          signal,
        }),
      ),
    ...byPages,
  });

export function useDeleteAlert() {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn: (id: string) =>
      unwrap(api.DELETE("/api/v1/alerts/{id}", { params: { path: { id } } })),
    onSettled: () => queryClient.invalidateQueries({ queryKey: keys.alerts }),
    onError: toast.failed,
  });
}

export function useSettleAlert() {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn: ({ id, as }: { id: string; as: "acknowledge" | "resolve" }) =>
      as === "acknowledge"
        ? unwrap(api.POST("/api/v1/alerts/{id}/acknowledge", { params: { path: { id } } }))
        : unwrap(api.POST("/api/v1/alerts/{id}/resolve", { params: { path: { id } } })),
    onSuccess: async () => {
      await Promise.all([
        queryClient.invalidateQueries({ queryKey: keys.alerts }),
        queryClient.invalidateQueries({ queryKey: keys.overview }),
      ]);
    },
    onError: toast.failed,
  });
}
