import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { Command } from "cmdk";
import {
  Building2,
  LogOut,
  MapPin,
  Monitor,
  Moon,
  Search,
  Sun,
  UserPlus,
  UserRound,
} from "lucide-react";
import { Dialog as Primitive } from "radix-ui";
import { type ReactNode, useState } from "react";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import { setTheme } from "../../lib/theme";
import { useFocusReturn } from "../../ui/focus-return";
import { AgentStatusLabel } from "../agents/agent-status";
import { useSession, useSignOut } from "../session/session";
import { visibleDestinations } from "../shell/navigation";
import { treeQuery } from "../tenancy/queries";

const item =
  "flex h-9 cursor-pointer items-center gap-2.5 rounded-md px-2.5 text-base data-[selected=true]:bg-accent-soft data-[selected=true]:text-ink [&_svg]:size-4 [&_svg]:shrink-0 [&_svg]:text-ink-3";

export function CommandPalette({
  open,
  onOpenChange,
}: {
  open: boolean;
  onOpenChange: (open: boolean) => void;
}) {
  const focusReturn = useFocusReturn();
  return (
    <Primitive.Root open={open} onOpenChange={onOpenChange}>
      <Primitive.Portal>
        <Primitive.Overlay className="fixed inset-0 z-40 animate-overlay bg-black/45" />
        <Primitive.Content
          {...focusReturn}
          aria-describedby={undefined}
          className="fixed top-[12vh] left-1/2 z-50 w-[calc(100vw-2rem)] max-w-xl -translate-x-1/2 animate-overlay overflow-hidden rounded-lg border border-line bg-raised shadow-float"
        >
          <Primitive.Title className="sr-only">Search or jump to</Primitive.Title>
          <Palette close={() => onOpenChange(false)} />
        </Primitive.Content>
      </Primitive.Portal>
    </Primitive.Root>
  );
}

function Palette({ close }: { close: () => void }) {
  const [text, setText] = useState("");
  const [chosen, setChosen] = useState("");
  const search = text.trim();
  const session = useSession();
  const navigate = useNavigate();
  const signOut = useSignOut();
  const tree = useQuery(treeQuery);
  const agents = useQuery({
    queryKey: [...keys.agents, "palette", search],
    queryFn: ({ signal }) =>
      unwrap(
        api.GET("/api/v1/agents", {
          params: { query: { search: search || undefined, sort: "hostname", limit: 8 } },
          signal,
        }),
      ),
    placeholderData: (former) => former,
  });
  const run = (action: () => unknown) => () => {
    close();
    void action();
  };
  const matches = (label: string) => label.toLowerCase().includes(search.toLowerCase());
  const pages = visibleDestinations(session.permissions).filter(({ label }) => matches(label));
  const places = (tree.data?.clients ?? [])
    .flatMap((client) => [
      { kind: "client" as const, id: client.id, name: client.name, hint: "Client" },
      ...client.sites.map((site) => ({
        kind: "site" as const,
        id: site.id,
        name: site.name,
        hint: `Site of ${client.name}`,
      })),
    ])
    .filter(({ name }) => search !== "" && matches(name))
    .slice(0, 8);
  const actions: { label: string; icon: ReactNode; run: () => unknown }[] = [
    ...(session.permissions.includes("manage_users")
      ? [
          {
            label: "Invite a user",
            icon: <UserPlus aria-hidden />,
            run: () => navigate({ to: "/users", search: { invite: true } }),
          },
        ]
      : []),
    {
      label: "Profile and sessions",
      icon: <UserRound aria-hidden />,
      run: () => navigate({ to: "/profile" }),
    },
    { label: "Light theme", icon: <Sun aria-hidden />, run: () => setTheme("light") },
    { label: "Dark theme", icon: <Moon aria-hidden />, run: () => setTheme("dark") },
    { label: "Theme of the system", icon: <Monitor aria-hidden />, run: () => setTheme("system") },
    { label: "Sign out", icon: <LogOut aria-hidden />, run: () => signOut.mutate() },
  ].filter(({ label }) => matches(label));
  // Until the answer to this text is here, of the former answer only what fits it: Enter must not open another machine.
  const found =
    search === ""
      ? []
      : (agents.data?.items ?? []).filter(
          ({ hostname }) => !agents.isPlaceholderData || matches(hostname),
        );
  const values = [
    ...found.map(({ id }) => `agent-${id}`),
    ...places.map(({ kind, id }) => `${kind}-${id}`),
    ...pages.map(({ to }) => `page-${to}`),
    ...actions.map(({ label }) => `do-${label}`),
  ];
  // Results arrive late: the first one is chosen until the arrows choose another that is still there.
  const selected = values.includes(chosen) ? chosen : (values[0] ?? "");
  return (
    // The server searches the machines, so the list must not be filtered a second time here.
    <Command
      shouldFilter={false}
      label="Search or jump to"
      loop
      value={selected}
      onValueChange={setChosen}
    >
      <div className="flex items-center gap-2.5 border-b px-4">
        <Search aria-hidden className="size-4 text-ink-3" />
        <Command.Input
          value={text}
          onValueChange={(next) => {
            setText(next);
            setChosen("");
          }}
          placeholder="Machine, site, page or action"
          className="h-12 w-full bg-transparent text-lg outline-none placeholder:text-ink-3"
        />
      </div>
      <Command.List className="scroll-thin max-h-[55vh] overflow-y-auto p-1.5 [&_[cmdk-group-heading]]:px-2.5 [&_[cmdk-group-heading]]:pt-2 [&_[cmdk-group-heading]]:pb-1 [&_[cmdk-group-heading]]:font-medium [&_[cmdk-group-heading]]:text-ink-3 [&_[cmdk-group-heading]]:text-sm">
        <Command.Empty className="px-3 py-8 text-center text-base text-ink-2">
          {agents.isFetching ? "Searching" : "Nothing found."}
        </Command.Empty>
        {found.length > 0 && (
          <Command.Group heading="Agents">
            {found.map((agent) => (
              <Command.Item
                key={agent.id}
                value={`agent-${agent.id}`}
                onSelect={run(() =>
                  navigate({ to: "/agents/$agentId", params: { agentId: agent.id } }),
                )}
                className={item}
              >
                <span className="min-w-0 truncate font-medium">{agent.hostname}</span>
                <span className="min-w-0 truncate text-ink-3 text-sm">
                  {agent.client_name} / {agent.site_name}
                </span>
                <span className="ml-auto text-ink-2 text-sm">
                  <AgentStatusLabel agent={agent} />
                </span>
              </Command.Item>
            ))}
          </Command.Group>
        )}
        {places.length > 0 && (
          <Command.Group heading="Clients and sites">
            {places.map((place) => (
              <Command.Item
                key={place.id}
                value={`${place.kind}-${place.id}`}
                onSelect={run(() =>
                  place.kind === "client"
                    ? navigate({ to: "/clients/$clientId", params: { clientId: place.id } })
                    : navigate({ to: "/sites/$siteId", params: { siteId: place.id } }),
                )}
                className={item}
              >
                {place.kind === "client" ? <Building2 aria-hidden /> : <MapPin aria-hidden />}
                <span className="min-w-0 truncate">{place.name}</span>
                <span className="ml-auto truncate text-ink-3 text-sm">{place.hint}</span>
              </Command.Item>
            ))}
          </Command.Group>
        )}
        {pages.length > 0 && (
          <Command.Group heading="Go to">
            {pages.map(({ to, label, icon: Icon }) => (
              <Command.Item
                key={to}
                value={`page-${to}`}
                onSelect={run(() => navigate({ to }))}
                className={item}
              >
                <Icon aria-hidden />
                {label}
              </Command.Item>
            ))}
          </Command.Group>
        )}
        {actions.length > 0 && (
          <Command.Group heading="Do">
            {actions.map((action) => (
              <Command.Item
                key={action.label}
                value={`do-${action.label}`}
                onSelect={run(action.run)}
                className={item}
              >
                {action.icon}
                {action.label}
              </Command.Item>
            ))}
          </Command.Group>
        )}
      </Command.List>
    </Command>
  );
}
