import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Check, ChevronsUpDown, LogOut, Monitor, Moon, Search, Sun, UserRound } from "lucide-react";
import { formatCount } from "../../lib/format";
import { setTheme, type Theme, useTheme } from "../../lib/theme";
import { Menu, MenuItem, MenuLabel, MenuLink, MenuSeparator } from "../../ui/menu";
import { Kbd } from "../../ui/panel";
import { overviewQuery } from "../overview/queries";
import { roleName, useSession, useSignOut, useSwitchPartner } from "../session/session";
import { FleetTree } from "./fleet-tree";
import { LiveIndicator } from "./live-indicator";
import { Mark } from "./mark";
import { type Destination, visibleDestinations } from "./navigation";

export function Rail({ onSearch }: { onSearch: () => void }) {
  const session = useSession();
  const destinations = visibleDestinations(session.permissions);
  return (
    <div className="flex h-full flex-col">
      <div className="grid gap-3 px-3 pt-3.5">
        <PartnerSwitcher />
        <button
          type="button"
          onClick={onSearch}
          className="flex h-8 items-center gap-2 rounded-md border border-line-strong bg-surface px-2.5 text-base text-ink-3 hover:border-ink-3"
        >
          <Search aria-hidden className="size-4" />
          Search or jump to
          <span className="ml-auto flex gap-0.5">
            <Kbd>Ctrl</Kbd>
            <Kbd>K</Kbd>
          </span>
        </button>
      </div>
      <nav aria-label="Main" className="scroll-thin mt-4 min-h-0 flex-1 overflow-y-auto px-3 pb-4">
        <ul className="grid gap-px">
          {destinations
            .filter(({ group }) => group === "fleet")
            .map((destination) => (
              <RailLink key={destination.to} destination={destination} />
            ))}
        </ul>
        <ul className="mt-3 grid gap-px border-t pt-3">
          {destinations
            .filter(({ group }) => group === "manage")
            .map((destination) => (
              <RailLink key={destination.to} destination={destination} />
            ))}
        </ul>
        <FleetTree />
      </nav>
      <div className="flex items-center gap-1 border-t px-3 py-2">
        <AccountMenu />
        <span className="ml-auto">
          <LiveIndicator />
        </span>
      </div>
    </div>
  );
}

function RailLink({ destination: { to, label, icon: Icon } }: { destination: Destination }) {
  return (
    <li>
      <Link
        to={to}
        activeOptions={{ exact: to === "/", includeSearch: false }}
        className="flex h-8 items-center gap-2.5 rounded-md px-2.5 text-base text-ink-2 hover:bg-hover hover:text-ink aria-[current=page]:bg-accent-soft aria-[current=page]:font-medium aria-[current=page]:text-accent"
      >
        <Icon aria-hidden className="size-4 shrink-0" />
        {label}
        {to === "/alerts" && <OpenAlerts />}
      </Link>
    </li>
  );
}

function OpenAlerts() {
  const overview = useQuery(overviewQuery);
  const open = overview.data?.alerts.open ?? 0;
  if (open === 0) return null;
  return (
    <span className="ml-auto rounded-sm bg-warn-soft px-1.5 font-medium text-warn text-xs">
      <span className="sr-only">open: </span>
      {formatCount(open)}
    </span>
  );
}

function PartnerSwitcher() {
  const session = useSession();
  const switchPartner = useSwitchPartner();
  const label = (
    <>
      <Mark className="size-7 shrink-0" />
      <span className="grid min-w-0 text-left leading-tight">
        <span className="truncate font-semibold text-base">
          {session.partner?.name ?? "GuruRMM"}
        </span>
        <span className="truncate text-ink-3 text-xs">
          {session.role
            ? roleName(session.role)
            : session.user.is_platform_admin
              ? "Platform administrator"
              : ""}
        </span>
      </span>
    </>
  );
  if (session.partners.length < 2) {
    return <div className="flex items-center gap-2.5 px-1">{label}</div>;
  }
  return (
    <Menu
      align="start"
      className="w-(--radix-dropdown-menu-trigger-width)"
      trigger={
        <button
          type="button"
          aria-label={`Partner ${session.partner?.name ?? ""}, switch`}
          className="flex w-full items-center gap-2.5 rounded-md px-1 py-0.5 hover:bg-hover"
        >
          {label}
          <ChevronsUpDown aria-hidden className="ml-auto size-4 text-ink-3" />
        </button>
      }
    >
      <MenuLabel>Work as</MenuLabel>
      {session.partners.map((partner) => (
        <MenuItem
          key={partner.id}
          onSelect={() => {
            if (partner.id !== session.partner?.id) switchPartner.mutate(partner.id);
          }}
        >
          <span className="min-w-0 truncate">{partner.name}</span>
          <span className="ml-auto text-ink-3 text-sm">{roleName(partner.role)}</span>
          {partner.id === session.partner?.id && <Check aria-label="current" />}
        </MenuItem>
      ))}
    </Menu>
  );
}

const THEMES: readonly { value: Theme; label: string; icon: typeof Sun }[] = [
  { value: "system", label: "As the system", icon: Monitor },
  { value: "light", label: "Light", icon: Sun },
  { value: "dark", label: "Dark", icon: Moon },
];

function AccountMenu() {
  const session = useSession();
  const signOut = useSignOut();
  const theme = useTheme();
  const initials = session.user.name
    .split(/\s+/)
    .slice(0, 2)
    .map((word) => word[0] ?? "")
    .join("")
    .toUpperCase();
  return (
    <Menu
      align="start"
      side="top"
      trigger={
        <button
          type="button"
          aria-label={`Account of ${session.user.name}`}
          className="flex min-w-0 items-center gap-2 rounded-md p-1 text-base hover:bg-hover"
        >
          <span
            aria-hidden
            className="grid size-6 shrink-0 place-items-center rounded-full bg-idle-soft font-medium text-ink-2 text-xs"
          >
            {initials}
          </span>
          <span className="truncate">{session.user.name}</span>
        </button>
      }
    >
      <MenuLabel>{session.user.email}</MenuLabel>
      <MenuLink>
        <Link to="/profile">
          <UserRound aria-hidden />
          Profile and sessions
        </Link>
      </MenuLink>
      <MenuSeparator />
      <MenuLabel>Theme</MenuLabel>
      {THEMES.map(({ value, label, icon: Icon }) => (
        <MenuItem key={value} onSelect={() => setTheme(value)}>
          <Icon aria-hidden />
          {label}
          {theme === value && <Check aria-label="chosen" className="ml-auto" />}
        </MenuItem>
      ))}
      <MenuSeparator />
      <MenuItem onSelect={() => signOut.mutate()}>
        <LogOut aria-hidden />
        Sign out
      </MenuItem>
    </Menu>
  );
}
