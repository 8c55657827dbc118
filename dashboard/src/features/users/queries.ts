import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import type { PartnerUser, Role } from "../../api/types";

export const usersQuery = queryOptions({
  queryKey: keys.users,
  queryFn: () => unwrap(api.GET("/api/v1/users", { params: { query: { limit: 200 } } })),
});

export const userSessionsQuery = (id: string) =>
  queryOptions({
    queryKey: keys.userSessions(id),
    queryFn: () => unwrap(api.GET("/api/v1/users/{id}/sessions", { params: { path: { id } } })),
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
