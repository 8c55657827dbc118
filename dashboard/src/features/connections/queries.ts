import { infiniteQueryOptions } from "@tanstack/react-query";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import { byPages } from "../../api/query";

const PAGE_SIZE = 50;

export const connectionsQuery = (agentId: string) =>
  infiniteQueryOptions({
    queryKey: keys.agentConnections(agentId),
    queryFn: ({ pageParam, signal }) =>
      unwrap(
        api.GET("/api/v1/agents/{id}/connections", {
          params: { path: { id: agentId }, query: { limit: PAGE_SIZE, cursor: pageParam } },
          signal,
        }),
      ),
    ...byPages,
  });
