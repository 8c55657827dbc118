import { queryOptions } from "@tanstack/react-query";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import type { PolicyScope } from "../../api/types";

export const policyQuery = (scope: PolicyScope, id: string) =>
  queryOptions({
    queryKey: [...keys.policies, scope, id],
    queryFn: () =>
      unwrap(api.GET("/api/v1/policies/{scope}/{id}", { params: { path: { scope, id } } })),
  });

export const effectivePolicyQuery = (agentId: string) =>
  queryOptions({
    queryKey: keys.agentPolicy(agentId),
    queryFn: () =>
      unwrap(api.GET("/api/v1/agents/{id}/policy", { params: { path: { id: agentId } } })),
  });
