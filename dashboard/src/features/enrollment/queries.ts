import { infiniteQueryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import { byPages } from "../../api/query";
import type { InstallerRequest } from "../../api/types";
import { saveAs } from "../../lib/save";

export const enrollmentKeysQuery = (siteId: string) =>
  infiniteQueryOptions({
    queryKey: keys.enrollmentKeys(siteId),
    queryFn: ({ pageParam: cursor }) =>
      unwrap(
        api.GET("/api/v1/sites/{id}/enrollment-keys", {
          params: { path: { id: siteId }, query: { cursor } },
        }),
      ),
    ...byPages,
  });

export const installReportsQuery = (siteId: string) =>
  infiniteQueryOptions({
    queryKey: keys.installReports(siteId),
    queryFn: ({ pageParam: cursor }) =>
      unwrap(
        api.GET("/api/v1/sites/{id}/install-reports", {
          params: { path: { id: siteId }, query: { cursor } },
        }),
      ),
    ...byPages,
  });

function useRefreshKeys(siteId: string) {
  const queryClient = useQueryClient();
  return () => queryClient.invalidateQueries({ queryKey: keys.enrollmentKeys(siteId) });
}

export function useRotateKey(siteId: string) {
  return useMutation({
    mutationFn: () =>
      unwrap(
        api.POST("/api/v1/sites/{id}/enrollment-keys/rotate", { params: { path: { id: siteId } } }),
      ),
    onSuccess: useRefreshKeys(siteId),
  });
}

export function useCreateToken(siteId: string) {
  return useMutation({
    mutationFn: (body: { expires_in_hours?: number; max_uses?: number; label?: string }) =>
      unwrap(
        api.POST("/api/v1/sites/{id}/enrollment-keys", { params: { path: { id: siteId } }, body }),
      ),
    onSuccess: useRefreshKeys(siteId),
  });
}

/** Mints a token and saves an installer under the name that carries it. The token is in no address: it comes in a header. */
export function useDownloadInstaller(siteId: string) {
  return useMutation({
    mutationFn: async (body: InstallerRequest) => {
      const call = api.POST("/api/v1/sites/{id}/installers", {
        params: { path: { id: siteId } },
        body,
        parseAs: "blob",
      });
      const bytes = await unwrap(call);
      const { response } = await call;
      const disposition = response.headers.get("Content-Disposition") ?? "";
      const name = /filename="([^"]+)"/.exec(disposition)?.[1] ?? body.file;
      saveAs(bytes as unknown as Blob, name);
      return { name, keyId: response.headers.get("X-Enrollment-Key-Id") };
    },
    onSuccess: useRefreshKeys(siteId),
  });
}

export function useRevokeKey(siteId: string) {
  return useMutation({
    mutationFn: (id: string) =>
      unwrap(api.DELETE("/api/v1/enrollment-keys/{id}", { params: { path: { id } } })),
    onSuccess: useRefreshKeys(siteId),
  });
}
