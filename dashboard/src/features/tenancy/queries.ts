import { queryOptions } from "@tanstack/react-query";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";

export const treeQuery = queryOptions({
  queryKey: keys.tree,
  queryFn: () => unwrap(api.GET("/api/v1/tree")),
});

export const clientQuery = (id: string) =>
  queryOptions({
    queryKey: keys.client(id),
    queryFn: () => unwrap(api.GET("/api/v1/clients/{id}", { params: { path: { id } } })),
  });

export const siteQuery = (id: string) =>
  queryOptions({
    queryKey: keys.site(id),
    queryFn: () => unwrap(api.GET("/api/v1/sites/{id}", { params: { path: { id } } })),
  });

export const serverQuery = queryOptions({
  queryKey: keys.server,
  queryFn: () => unwrap(api.GET("/api/v1/server")),
  staleTime: 300_000,
});
