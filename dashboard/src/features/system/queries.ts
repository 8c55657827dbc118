import { queryOptions } from "@tanstack/react-query";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";

/** As often as the servers say how they do. */
const REFETCH_MS = 5_000;

export const statusQuery = queryOptions({
  queryKey: keys.system,
  queryFn: ({ signal }) => unwrap(api.GET("/api/v1/system/status", { signal })),
  refetchInterval: REFETCH_MS,
});

export const nodesQuery = queryOptions({
  queryKey: keys.nodes,
  queryFn: ({ signal }) => unwrap(api.GET("/api/v1/system/nodes", { signal })),
  refetchInterval: REFETCH_MS,
});
