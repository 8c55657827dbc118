import {
  AppWindow,
  Bell,
  Building2,
  Gauge,
  KeyRound,
  type LucideIcon,
  MonitorSmartphone,
  RefreshCw,
  ScrollText,
  ServerCog,
  SlidersHorizontal,
  SquareTerminal,
  UserRoundCheck,
  Users,
} from "lucide-react";
import type { Permission } from "../../api/types";

export interface Destination {
  to:
    | "/"
    | "/agents"
    | "/alerts"
    | "/commands"
    | "/sessions"
    | "/updates"
    | "/clients"
    | "/approvals"
    | "/enrollment"
    | "/users"
    | "/audit"
    | "/settings"
    | "/system";
  label: string;
  icon: LucideIcon;
  /** Who lacks it does not see the page. */
  needs?: Permission;
  group: "fleet" | "manage";
}

export const DESTINATIONS: readonly Destination[] = [
  { to: "/", label: "Overview", icon: Gauge, group: "fleet" },
  { to: "/agents", label: "Agents", icon: MonitorSmartphone, group: "fleet" },
  { to: "/alerts", label: "Alerts", icon: Bell, group: "fleet" },
  { to: "/commands", label: "Commands", icon: SquareTerminal, group: "fleet" },
  { to: "/sessions", label: "Sessions", icon: AppWindow, needs: "use_tunnel", group: "fleet" },
  { to: "/approvals", label: "Approvals", icon: UserRoundCheck, group: "fleet" },
  { to: "/updates", label: "Updates", icon: RefreshCw, group: "fleet" },
  { to: "/clients", label: "Clients and sites", icon: Building2, group: "manage" },
  { to: "/enrollment", label: "Enrollment", icon: KeyRound, needs: "read_keys", group: "manage" },
  { to: "/users", label: "Users", icon: Users, needs: "read_users", group: "manage" },
  { to: "/audit", label: "Audit log", icon: ScrollText, needs: "read_audit", group: "manage" },
  {
    to: "/settings",
    label: "Settings",
    icon: SlidersHorizontal,
    needs: "manage_policies",
    group: "manage",
  },
  { to: "/system", label: "System", icon: ServerCog, needs: "manage_platform", group: "manage" },
];

export function visibleDestinations(permissions: readonly string[]): Destination[] {
  return DESTINATIONS.filter(({ needs }) => !needs || permissions.includes(needs));
}
