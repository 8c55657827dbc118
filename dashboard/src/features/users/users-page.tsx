import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { UserPlus } from "lucide-react";
import { rowsOf } from "../../api/query";
import type { PartnerUser } from "../../api/types";
import { useWide } from "../../lib/media";
import { Badge, type Tone } from "../../ui/badge";
import { Button } from "../../ui/button";
import { Sheet } from "../../ui/dialog";
import { PagedList } from "../../ui/paged-list";
import { Panel } from "../../ui/panel";
import { EmptyState } from "../../ui/states";
import { Table, Td, Th, Tr } from "../../ui/table";
import { RelativeTime } from "../../ui/time";
import { roleName, useDenied, useSession } from "../session/session";
import { PageHeader } from "../shell/page-header";
import { treeQuery } from "../tenancy/queries";
import { InviteDialog } from "./invite-dialog";
import { usersQuery } from "./queries";
import { UserDetail } from "./user-detail";

const STATUS: Record<PartnerUser["status"], { label: string; tone: Tone }> = {
  active: { label: "Active", tone: "ok" },
  invited: { label: "Invited", tone: "accent" },
  suspended: { label: "Suspended", tone: "idle" },
};

export function UserStatus({ user }: { user: PartnerUser }) {
  const locked = user.locked_until !== null && new Date(user.locked_until).getTime() > Date.now();
  if (locked) return <Badge tone="warn">Locked</Badge>;
  const { label, tone } = STATUS[user.status] ?? { label: user.status, tone: "idle" };
  return <Badge tone={tone}>{label}</Badge>;
}

export function UsersPage() {
  const { invite = false, user: openId } = useSearch({ from: "/app/users" });
  const navigate = useNavigate({ from: "/users" });
  const session = useSession();
  const denied = useDenied("manage_users");
  const wide = useWide();
  const query = useInfiniteQuery(usersQuery);
  const users = rowsOf(query.data);
  const shown = users.find(({ id }) => id === openId) ?? null;
  return (
    <>
      <PageHeader
        title="Users"
        documentTitle="Users"
        meta={session.partner && `People who work in ${session.partner.name}.`}
        actions={
          <Button
            variant="primary"
            disabledReason={denied}
            onClick={() => navigate({ search: { invite: true } })}
          >
            <UserPlus aria-hidden />
            Invite a user
          </Button>
        }
      />
      <Panel flush>
        <PagedList query={query} empty={<EmptyState title="No users yet" />}>
          <Table>
            <thead>
              <tr>
                <Th>Name</Th>
                {wide && <Th>Role</Th>}
                <Th>Status</Th>
                {wide && <Th>Sees</Th>}
                {wide && <Th>Last sign-in</Th>}
              </tr>
            </thead>
            <tbody>
              {users.map((user) => (
                <Tr key={user.id} className="relative">
                  <Td className="max-w-0">
                    <button
                      type="button"
                      onClick={() => navigate({ search: { user: user.id }, resetScroll: false })}
                      className="block w-full truncate rounded-sm text-left font-medium after:absolute after:inset-0"
                    >
                      {user.name || user.email}
                      {user.id === session.user.id && (
                        <span className="font-normal text-ink-3"> (you)</span>
                      )}
                    </button>
                    <p className="truncate text-ink-2 text-sm">{user.email}</p>
                    {!wide && <p className="text-ink-3 text-sm">{roleName(user.role)}</p>}
                  </Td>
                  {wide && <Td className="w-32">{roleName(user.role)}</Td>}
                  <Td className="w-28">
                    <UserStatus user={user} />
                  </Td>
                  {wide && (
                    <Td className="w-88 max-w-88 truncate text-ink-2">
                      <Sees user={user} />
                    </Td>
                  )}
                  {wide && (
                    <Td className="w-36 text-ink-2">
                      <RelativeTime time={user.last_sign_in_at} />
                    </Td>
                  )}
                </Tr>
              ))}
            </tbody>
          </Table>
        </PagedList>
      </Panel>
      <InviteDialog
        open={invite && denied === null}
        onClose={() => navigate({ search: {}, replace: true })}
      />
      <Sheet
        open={shown !== null}
        onOpenChange={(open) => {
          if (!open) void navigate({ search: {}, resetScroll: false });
        }}
        title={shown?.name || shown?.email || "User"}
        description={shown?.email}
      >
        {shown && (
          <UserDetail key={shown.id} user={shown} onGone={() => navigate({ search: {} })} />
        )}
      </Sheet>
    </>
  );
}

function Sees({ user }: { user: PartnerUser }) {
  const tree = useQuery(treeQuery);
  if (user.client_ids.length + user.site_ids.length === 0) return "Everything";
  const clients = tree.data?.clients ?? [];
  const names = [
    ...clients.filter(({ id }) => user.client_ids.includes(id)).map(({ name }) => name),
    ...clients.flatMap(({ name, sites }) =>
      sites.filter(({ id }) => user.site_ids.includes(id)).map((site) => `${name} / ${site.name}`),
    ),
  ];
  return names.join(", ") || `${user.client_ids.length + user.site_ids.length} places`;
}
