import { infiniteQueryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import { byPages } from "../../api/query";
import type { Decision } from "../../api/types";

export const approvalsQuery = infiniteQueryOptions({
  // Below the machines: whatever is said of them makes this stale too.
  queryKey: [...keys.agents, "approvals"],
  queryFn: ({ pageParam: cursor }) =>
    unwrap(api.GET("/api/v1/approvals", { params: { query: { cursor } } })),
  ...byPages,
});

/** The most decisions in one request. */
export const MOST_AT_ONCE = 100;

export function useDecide() {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn: (decisions: Decision[]) =>
      unwrap(api.POST("/api/v1/approvals", { body: { decisions } })),
    onSettled: () =>
      Promise.all(
        [keys.agents, keys.tree, keys.overview, keys.alerts].map((queryKey) =>
          queryClient.invalidateQueries({ queryKey }),
        ),
      ),
  });
}
