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

export interface SessionFilter {
  status?: "active" | "closed";
  agent_id?: string;
  tech_id?: string;
}

const PAGE_SIZE = 50;

export const sessionsQuery = (filter: SessionFilter) =>
  infiniteQueryOptions({
    queryKey: [...keys.tunnels, filter],
    queryFn: ({ pageParam, signal }) =>
      unwrap(
        api.GET("/api/v1/tunnel/sessions", {
          params: { query: { ...filter, limit: PAGE_SIZE, cursor: pageParam } },
          signal,
        }),
      ),
    ...byPages,
  });

export function useEndSession() {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn: (id: string) =>
      unwrap(api.POST("/api/v1/tunnel/sessions/{id}/end", { params: { path: { id } } })),
    onSuccess: async () => {
      toast.done("The session is ended.");
      await queryClient.invalidateQueries({ queryKey: keys.tunnels });
    },
  });
}

export interface RecordingFilter {
  agent_id?: string;
  q?: string;
}

export const recordingsQuery = (filter: RecordingFilter) =>
  infiniteQueryOptions({
    queryKey: [...keys.recordings, filter],
    queryFn: ({ pageParam, signal }) =>
      unwrap(
        api.GET("/api/v1/recordings", {
          params: { query: { ...filter, limit: PAGE_SIZE, cursor: pageParam } },
          signal,
        }),
      ),
    ...byPages,
  });

export const recordingQuery = (sessionId: string) =>
  queryOptions({
    queryKey: keys.recording(sessionId),
    queryFn: () =>
      unwrap(
        api.GET("/api/v1/recordings/{session_id}", {
          params: { path: { session_id: sessionId } },
        }),
      ),
  });

export const recordedEventsQuery = (sessionId: string) =>
  infiniteQueryOptions({
    queryKey: [...keys.recording(sessionId), "events"],
    queryFn: ({ pageParam, signal }) =>
      unwrap(
        api.GET("/api/v1/recordings/{session_id}/events", {
          params: {
            path: { session_id: sessionId },
            query: { limit: PAGE_SIZE, cursor: pageParam },
          },
          signal,
        }),
      ),
    ...byPages,
  });
