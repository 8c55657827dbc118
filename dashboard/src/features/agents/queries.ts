import { infiniteQueryOptions, keepPreviousData, queryOptions } from "@tanstack/react-query";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import { byPages } from "../../api/query";
import type { Sample } from "../../api/types";
import { ApiError } from "../../lib/problem";
import type { AgentFilter } from "../../routes/search";

const PAGE_SIZE = 100;

export const agentsQuery = (filter: AgentFilter) =>
  infiniteQueryOptions({
    queryKey: [...keys.agents, "list", filter],
    queryFn: ({ pageParam, signal }) =>
      unwrap(
        api.GET("/api/v1/agents", {
          params: {
            query: {
              sort: "hostname",
              order: "asc",
              ...filter,
              limit: PAGE_SIZE,
              cursor: pageParam,
            },
          },
          signal,
        }),
      ),
    ...byPages,
  });

export const agentQuery = (id: string) =>
  queryOptions({
    queryKey: keys.agent(id),
    queryFn: () => unwrap(api.GET("/api/v1/agents/{id}", { params: { path: { id } } })),
  });

/** The sample at or before `time`; null when the machine has sent none by then. */
export const sampleAtQuery = (id: string, time: string) =>
  queryOptions({
    queryKey: [...keys.agentMetrics(id), "at", time],
    queryFn: () => sampleAt(id, time),
    staleTime: Number.POSITIVE_INFINITY,
  });

export async function sampleAt(id: string, time?: string): Promise<Sample | null> {
  try {
    return await unwrap(
      api.GET("/api/v1/agents/{id}/metrics/at", { params: { path: { id }, query: { time } } }),
    );
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  }
}

export const RANGES = [
  { value: "1h", label: "1 h", seconds: 3_600 },
  { value: "6h", label: "6 h", seconds: 21_600 },
  { value: "24h", label: "24 h", seconds: 86_400 },
  { value: "7d", label: "7 d", seconds: 604_800 },
  { value: "30d", label: "30 d", seconds: 2_592_000 },
  { value: "1y", label: "1 y", seconds: 31_536_000 },
] as const;

export type Span = { from: string; to: string } | { seconds: number };

const CHART_POINTS = 500;

export const metricsQuery = (id: string, span: Span) =>
  queryOptions({
    queryKey: [...keys.agentMetrics(id), span],
    queryFn: ({ signal }) => {
      const to = "to" in span ? new Date(span.to) : new Date();
      const from =
        "from" in span ? new Date(span.from) : new Date(to.getTime() - span.seconds * 1000);
      return unwrap(
        api.GET("/api/v1/agents/{id}/metrics", {
          params: {
            path: { id },
            query: { from: from.toISOString(), to: to.toISOString(), points: CHART_POINTS },
          },
          signal,
        }),
      );
    },
    // A span that ends now moves on; one in the past stays as it is.
    refetchInterval: "seconds" in span ? Math.max(15_000, span.seconds * 4) : false,
    placeholderData: keepPreviousData,
  });

/** What the machine counted as lost within the span of its charts. */
export const gapsQuery = (id: string, span: Span) =>
  queryOptions({
    queryKey: [...keys.agentMetrics(id), "gaps", span],
    queryFn: ({ signal }) => {
      const to = "to" in span ? new Date(span.to) : new Date();
      const from =
        "from" in span ? new Date(span.from) : new Date(to.getTime() - span.seconds * 1000);
      return unwrap(
        api.GET("/api/v1/agents/{id}/metrics/gaps", {
          params: { path: { id }, query: { from: from.toISOString(), to: to.toISOString() } },
          signal,
        }),
      );
    },
    refetchInterval: "seconds" in span ? 60_000 : false,
    placeholderData: keepPreviousData,
  });
