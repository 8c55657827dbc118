import { queryOptions, useMutation, useQueryClient, useSuspenseQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import type { Permission, Role, SessionInfo } from "../../api/types";

export const sessionQuery = queryOptions({
  queryKey: keys.session,
  queryFn: () => unwrap(api.GET("/api/v1/session")),
  staleTime: 300_000,
  retry: false,
});

/** Who is signed in. Only for pages behind the sign-in. */
export function useSession(): SessionInfo {
  return useSuspenseQuery(sessionQuery).data;
}

export function useCan(permission: Permission): boolean {
  return useSession().permissions.includes(permission);
}

/** Why an action is not offered, or null when the role allows it. */
export function useDenied(permission: Permission): string | null {
  const session = useSession();
  if (session.permissions.includes(permission)) return null;
  return `Your role (${roleName(session.role)}) does not include this.`;
}

const ROLE_NAMES: Record<Role, string> = {
  owner: "Owner",
  admin: "Admin",
  tech: "Technician",
  read_only: "Read-only",
};

export function roleName(role: Role | null): string {
  return role ? ROLE_NAMES[role] : "no role";
}

/** A path on this site; anything that could lead elsewhere becomes the start page. */
export function safeNext(next: string | undefined): string {
  return next && /^\/(?![/\\])/.test(next) && !next.startsWith("/sign-in") ? next : "/";
}

export function useSignOut() {
  const queryClient = useQueryClient();
  const navigate = useNavigate();
  return useMutation({
    mutationFn: () => unwrap(api.DELETE("/api/v1/session")),
    onSettled: async () => {
      await navigate({ to: "/sign-in", search: { reason: "left" } });
      queryClient.clear();
    },
  });
}

export function useSwitchPartner() {
  const queryClient = useQueryClient();
  const navigate = useNavigate();
  return useMutation({
    mutationFn: (partnerId: string) =>
      unwrap(api.PUT("/api/v1/session/partner", { body: { partner_id: partnerId } })),
    onSuccess: async (session) => {
      // Nothing of the former partner may stay on the screen.
      await navigate({ to: "/" });
      queryClient.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== keys.session[0] });
      queryClient.setQueryData(keys.session, session);
      await queryClient.invalidateQueries();
    },
  });
}
