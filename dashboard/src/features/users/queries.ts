import { infiniteQueryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import { byPages } from "../../api/query";
import type { PartnerUser, Role } from "../../api/types";

export const usersQuery = infiniteQueryOptions({
  queryKey: keys.users,
  queryFn: ({ pageParam: cursor }) =>
    unwrap(api.GET("/api/v1/users", { params: { query: { limit: 100, cursor } } })),
  ...byPages,
});

export const userSessionsQuery = (id: string) =>
  infiniteQueryOptions({
    queryKey: keys.userSessions(id),
    queryFn: ({ pageParam: cursor }) =>
      unwrap(
        api.GET("/api/v1/users/{id}/sessions", { params: { path: { id }, query: { cursor } } }),
      ),
    ...byPages,
  });

function useRefreshUsers() {
  const queryClient = useQueryClient();
  return () => queryClient.invalidateQueries({ queryKey: keys.users });
}

export interface Confinement {
  client_ids: string[];
  site_ids: string[];
}

export function useInviteUser() {
  return useMutation({
    mutationFn: (body: { email: string; name: string; role: Role } & Partial<Confinement>) =>
      unwrap(api.POST("/api/v1/users", { body })),
    onSuccess: useRefreshUsers(),
  });
}

export function useChangeUser(id: string) {
  return useMutation({
    mutationFn: (
      body: { name?: string; role?: Role; status?: "active" | "suspended" } & Partial<Confinement>,
    ) => unwrap(api.PATCH("/api/v1/users/{id}", { params: { path: { id } }, body })),
    onSuccess: useRefreshUsers(),
  });
}

export function useRemoveUser(id: string) {
  return useMutation({
    mutationFn: () => unwrap(api.DELETE("/api/v1/users/{id}", { params: { path: { id } } })),
    onSuccess: useRefreshUsers(),
  });
}

export function useRenewInvitation() {
  return useMutation({
    mutationFn: (user: PartnerUser) =>
      unwrap(api.POST("/api/v1/users/{id}/invitation", { params: { path: { id: user.id } } })),
  });
}

export function useEndUserSessions(id: string) {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn: () =>
      unwrap(api.DELETE("/api/v1/users/{id}/sessions", { params: { path: { id } } })),
    onSuccess: () => queryClient.invalidateQueries({ queryKey: keys.userSessions(id) }),
  });
}
