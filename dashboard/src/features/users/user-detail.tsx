import { useInfiniteQuery } from "@tanstack/react-query";
import { useState } from "react";
import { rowsOf } from "../../api/query";
import type { Invitation, PartnerUser, Role } from "../../api/types";
import { errorMessage } from "../../lib/problem";
import { Button } from "../../ui/button";
import { Confirm } from "../../ui/confirm";
import { Field, FormError } from "../../ui/field";
import { Input, Select } from "../../ui/input";
import { PagedList } from "../../ui/paged-list";
import { Fact, Facts } from "../../ui/panel";
import { EmptyState } from "../../ui/states";
import { DateTime } from "../../ui/time";
import { toast } from "../../ui/toast";
import { SessionList } from "../profile/session-list";
import { useDenied, useSession } from "../session/session";
import { ConfinementPicker } from "./confinement-picker";
import { InvitationLink } from "./invite-dialog";
import {
  useChangeUser,
  useEndUserSessions,
  useRemoveUser,
  useRenewInvitation,
  userSessionsQuery,
} from "./queries";
import { grantableRoles, mayManage, ROLES } from "./roles";
import { UserStatus } from "./users-page";

export function UserDetail({ user, onGone }: { user: PartnerUser; onGone: () => void }) {
  const session = useSession();
  const roleDenied = useDenied("manage_users");
  const self = user.id === session.user.id;
  const denied =
    roleDenied ??
    (self
      ? "You cannot change your own access."
      : mayManage(session.role, user.role, session.user.is_platform_admin)
        ? null
        : "This person's role is above yours.");
  return (
    <div className="divide-y divide-line">
      <section className="p-5" aria-label="About">
        <Facts>
          <Fact label="Status">
            <UserStatus user={user} />
          </Fact>
          <Fact label="Joined">
            <DateTime time={user.created_at} />
          </Fact>
          <Fact label="Last sign-in">
            <DateTime time={user.last_sign_in_at} none="never" />
          </Fact>
          {user.locked_until && (
            <Fact label="Locked until">
              <DateTime time={user.locked_until} />
            </Fact>
          )}
        </Facts>
      </section>
      <Access user={user} denied={denied} />
      {user.status === "invited" ? (
        <PendingInvitation user={user} denied={denied} />
      ) : (
        <Sessions user={user} denied={roleDenied} />
      )}
      <Endings user={user} denied={denied} onGone={onGone} />
    </div>
  );
}

const sameIds = (one: readonly string[], other: readonly string[]) =>
  one.length === other.length && one.every((id) => other.includes(id));

function Access({ user, denied }: { user: PartnerUser; denied: string | null }) {
  const session = useSession();
  const [name, setName] = useState(user.name);
  const [role, setRole] = useState<Role>(user.role);
  const [confinement, setConfinement] = useState({
    client_ids: user.client_ids,
    site_ids: user.site_ids,
  });
  const change = useChangeUser(user.id);
  const changed =
    name.trim() !== user.name ||
    role !== user.role ||
    !sameIds(confinement.client_ids, user.client_ids) ||
    !sameIds(confinement.site_ids, user.site_ids);
  const roles = grantableRoles(session.role, session.user.is_platform_admin);
  return (
    <form
      className="grid gap-4 p-5"
      onSubmit={(event) => {
        event.preventDefault();
        change.mutate(
          { name: name.trim(), role, ...confinement },
          { onSuccess: () => toast.done("Saved. It applies at once.") },
        );
      }}
    >
      <div className="grid gap-4 sm:grid-cols-2">
        <Field label="Name">
          <Input
            value={name}
            maxLength={120}
            disabled={denied !== null}
            onChange={(event) => setName(event.target.value)}
          />
        </Field>
        <Field label="Role" hint={ROLES.find(({ value }) => value === role)?.hint}>
          <Select
            value={role}
            disabled={denied !== null}
            onChange={(event) => setRole(event.target.value as Role)}
          >
            {ROLES.filter(({ value }) => roles.includes(value) || value === user.role).map(
              ({ value, label }) => (
                <option key={value} value={value}>
                  {label}
                </option>
              ),
            )}
          </Select>
        </Field>
      </div>
      <ConfinementPicker value={confinement} onChange={setConfinement} disabled={denied !== null} />
      <FormError>{change.error && errorMessage(change.error)}</FormError>
      <div>
        <Button
          type="submit"
          variant="primary"
          busy={change.isPending}
          disabled={!changed && denied === null}
          disabledReason={denied}
        >
          Save
        </Button>
      </div>
    </form>
  );
}

function PendingInvitation({ user, denied }: { user: PartnerUser; denied: string | null }) {
  const renew = useRenewInvitation();
  const [invitation, setInvitation] = useState<Invitation | null>(null);
  return (
    <section className="grid gap-3 p-5" aria-label="Invitation">
      <p className="text-base text-ink-2">
        Has not accepted the invitation yet. A new link replaces the former one.
      </p>
      {invitation ? (
        <InvitationLink email={user.email} invitation={invitation} />
      ) : (
        <div>
          <Button
            busy={renew.isPending}
            disabledReason={denied}
            onClick={() => renew.mutate(user, { onSuccess: setInvitation, onError: toast.failed })}
          >
            New invitation link
          </Button>
        </div>
      )}
    </section>
  );
}

function Sessions({ user, denied }: { user: PartnerUser; denied: string | null }) {
  const query = useInfiniteQuery(userSessionsQuery(user.id));
  const sessions = rowsOf(query.data);
  const end = useEndUserSessions(user.id);
  const some = sessions.length > 0;
  return (
    <section aria-label="Sessions">
      <div className="flex items-center justify-between gap-4 px-5 py-3">
        <h2 className="font-semibold text-base">Sessions</h2>
        {some && (
          <Button
            size="sm"
            variant="dangerOutline"
            busy={end.isPending}
            disabledReason={denied}
            onClick={() =>
              end.mutate(undefined, {
                onSuccess: () => toast.done(`All sessions of ${user.name} were ended.`),
                onError: toast.failed,
              })
            }
          >
            End all
          </Button>
        )}
      </div>
      <PagedList
        query={query}
        skeletonRows={2}
        empty={<EmptyState title="Not signed in anywhere" className="py-6" />}
      >
        <div className="[&_li]:px-5">
          <SessionList sessions={sessions} />
        </div>
      </PagedList>
    </section>
  );
}

function Endings({
  user,
  denied,
  onGone,
}: {
  user: PartnerUser;
  denied: string | null;
  onGone: () => void;
}) {
  const [removing, setRemoving] = useState(false);
  const change = useChangeUser(user.id);
  const remove = useRemoveUser(user.id);
  return (
    <section className="flex flex-wrap gap-2 p-5" aria-label="Suspend or remove">
      {user.status === "active" && (
        <Button
          busy={change.isPending}
          disabledReason={denied}
          onClick={() =>
            change.mutate(
              { status: "suspended" },
              {
                onSuccess: () => toast.done(`${user.name} was suspended and signed out.`),
                onError: toast.failed,
              },
            )
          }
        >
          Suspend
        </Button>
      )}
      {user.status === "suspended" && (
        <Button
          busy={change.isPending}
          disabledReason={denied}
          onClick={() => change.mutate({ status: "active" }, { onError: toast.failed })}
        >
          Let in again
        </Button>
      )}
      <Button variant="dangerOutline" disabledReason={denied} onClick={() => setRemoving(true)}>
        Remove from the organisation
      </Button>
      <Confirm
        open={removing}
        onOpenChange={setRemoving}
        title={`Remove ${user.name || user.email}?`}
        action="Remove"
        busy={remove.isPending}
        error={remove.error && errorMessage(remove.error)}
        onConfirm={() => remove.mutate(undefined, { onSuccess: onGone })}
      >
        <p>All sessions end at once. What the person did stays in the audit log.</p>
      </Confirm>
    </section>
  );
}
