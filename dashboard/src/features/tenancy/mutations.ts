import { useMutation, useQueryClient } from "@tanstack/react-query";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";

function useRefreshTenancy() {
  const queryClient = useQueryClient();
  return () =>
    Promise.all(
      [keys.tree, keys.clients, keys.sites, keys.overview].map((queryKey) =>
        queryClient.invalidateQueries({ queryKey }),
      ),
    );
}

export function useCreateClient() {
  const refresh = useRefreshTenancy();
  return useMutation({
    mutationFn: (name: string) => unwrap(api.POST("/api/v1/clients", { body: { name } })),
    onSuccess: refresh,
  });
}

export function useRenameClient(id: string) {
  const refresh = useRefreshTenancy();
  return useMutation({
    mutationFn: (name: string) =>
      unwrap(api.PATCH("/api/v1/clients/{id}", { params: { path: { id } }, body: { name } })),
    onSuccess: refresh,
  });
}

export function useDeleteClient(id: string) {
  const refresh = useRefreshTenancy();
  return useMutation({
    mutationFn: () => unwrap(api.DELETE("/api/v1/clients/{id}", { params: { path: { id } } })),
    onSuccess: refresh,
  });
}

export function useCreateSite() {
  const refresh = useRefreshTenancy();
  return useMutation({
    mutationFn: (site: { client_id: string; name: string; approval_required: boolean }) =>
      unwrap(api.POST("/api/v1/sites", { body: site })),
    onSuccess: refresh,
  });
}

export function useChangeSite(id: string) {
  const refresh = useRefreshTenancy();
  return useMutation({
    mutationFn: (change: { name?: string; approval_required?: boolean }) =>
      unwrap(api.PATCH("/api/v1/sites/{id}", { params: { path: { id } }, body: change })),
    onSuccess: refresh,
  });
}

export function useDeleteSite(id: string) {
  const refresh = useRefreshTenancy();
  return useMutation({
    mutationFn: () => unwrap(api.DELETE("/api/v1/sites/{id}", { params: { path: { id } } })),
    onSuccess: refresh,
  });
}
