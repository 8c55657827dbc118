import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";

export const overviewQuery = queryOptions({
  queryKey: keys.overview,
  queryFn: () => unwrap(api.GET("/api/v1/overview")),
});

export type Measure = "disk" | "memory" | "cpu";

const REFRESH_MS = 60_000;

/** The online machines with the highest figure. Figures are not announced live, so they are asked for again. */
export const highestUseQuery = (measure: Measure) =>
  queryOptions({
    queryKey: [...keys.agents, "highest", measure],
    queryFn: ({ signal }) =>
      unwrap(
        api.GET("/api/v1/agents", {
          params: { query: { sort: measure, order: "desc", status: "online", limit: 6 } },
          signal,
        }),
      ),
    refetchInterval: REFRESH_MS,
    placeholderData: keepPreviousData,
  });
