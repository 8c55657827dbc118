import type { Role } from "../../api/types";

export const ROLES: readonly { value: Role; label: string; hint: string }[] = [
  { value: "owner", label: "Owner", hint: "Everything, including the organisation itself." },
  { value: "admin", label: "Admin", hint: "Users, keys, clients, policies, audit, and all below." },
  {
    value: "tech",
    label: "Technician",
    hint: "Runs commands, reads agents' logs, works on alerts.",
  },
  { value: "read_only", label: "Read-only", hint: "Looks, and changes nothing." },
];

const RANK: Record<Role, number> = { read_only: 0, tech: 1, admin: 2, owner: 3 };

/** Nobody grants more than she has. */
export function grantableRoles(own: Role | null, isPlatformAdmin: boolean): Role[] {
  const rank = own ? RANK[own] : isPlatformAdmin ? RANK.owner : -1;
  return ROLES.map(({ value }) => value).filter((role) => RANK[role] <= rank);
}

/** Whether someone with `own` role may change someone with `other`. */
export function mayManage(own: Role | null, other: Role, isPlatformAdmin: boolean): boolean {
  return grantableRoles(own, isPlatformAdmin).includes(other);
}
