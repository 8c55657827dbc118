import { zodResolver } from "@hookform/resolvers/zod";
import { useState } from "react";
import { useForm } from "react-hook-form";
import { z } from "zod";
import type { Invitation } from "../../api/types";
import { applyProblem } from "../../lib/form";
import { formatDateTime } from "../../lib/format";
import { Button } from "../../ui/button";
import { CopyBlock } from "../../ui/copy";
import { Dialog, DialogActions } from "../../ui/dialog";
import { Field, FormError } from "../../ui/field";
import { Input, Select } from "../../ui/input";
import { useSession } from "../session/session";
import { ConfinementPicker } from "./confinement-picker";
import { type Confinement, useInviteUser } from "./queries";
import { grantableRoles, ROLES } from "./roles";

const schema = z.object({
  email: z.email("Enter an email address."),
  name: z.string().trim().min(1, "Enter a name.").max(120, "Use at most 120 characters."),
  role: z.enum(["owner", "admin", "tech", "read_only"]),
});

export function InviteDialog({ open, onClose }: { open: boolean; onClose: () => void }) {
  const [made, setMade] = useState<{ email: string; invitation: Invitation } | null>(null);
  const close = () => {
    setMade(null);
    onClose();
  };
  return (
    <Dialog
      open={open}
      onOpenChange={(next) => {
        if (!next) close();
      }}
      title={made ? "Invitation ready" : "Invite a user"}
      description={
        made
          ? "Send this link to the person yourself. It works once."
          : "You get a link to send; the person then chooses a password."
      }
    >
      {made ? (
        <>
          <InvitationLink email={made.email} invitation={made.invitation} />
          <DialogActions>
            <Button variant="primary" onClick={close}>
              Done
            </Button>
          </DialogActions>
        </>
      ) : (
        <InviteForm onClose={close} onMade={setMade} />
      )}
    </Dialog>
  );
}

export function InvitationLink({ email, invitation }: { email: string; invitation: Invitation }) {
  return (
    <div className="grid gap-2">
      <CopyBlock
        label={`For ${email}`}
        copyLabel="Copy link"
        text={`${location.origin}${invitation.url_path}`}
      />
      <p className="text-ink-2 text-sm">Valid until {formatDateTime(invitation.expires_at)}.</p>
    </div>
  );
}

function InviteForm({
  onClose,
  onMade,
}: {
  onClose: () => void;
  onMade: (made: { email: string; invitation: Invitation }) => void;
}) {
  const session = useSession();
  const roles = grantableRoles(session.role, session.user.is_platform_admin);
  const [confinement, setConfinement] = useState<Confinement>({ client_ids: [], site_ids: [] });
  const form = useForm<z.infer<typeof schema>>({
    resolver: zodResolver(schema),
    defaultValues: { email: "", name: "", role: "tech" },
  });
  const invite = useInviteUser();
  const { errors } = form.formState;
  const role = form.watch("role");
  return (
    <form
      noValidate
      className="grid gap-4"
      onSubmit={form.handleSubmit((values) =>
        invite.mutate(
          { ...values, ...confinement },
          {
            onSuccess: ({ user, invitation }) => onMade({ email: user.email, invitation }),
            onError: (error) => applyProblem(form, error),
          },
        ),
      )}
    >
      <FormError>{errors.root?.message}</FormError>
      <div className="grid gap-4 sm:grid-cols-2">
        <Field label="Name" error={errors.name?.message}>
          <Input autoComplete="off" {...form.register("name")} />
        </Field>
        <Field label="Email" error={errors.email?.message}>
          <Input type="email" autoComplete="off" {...form.register("email")} />
        </Field>
      </div>
      <Field
        label="Role"
        hint={ROLES.find(({ value }) => value === role)?.hint}
        error={errors.role?.message}
      >
        <Select {...form.register("role")}>
          {ROLES.filter(({ value }) => roles.includes(value)).map(({ value, label }) => (
            <option key={value} value={value}>
              {label}
            </option>
          ))}
        </Select>
      </Field>
      <ConfinementPicker value={confinement} onChange={setConfinement} />
      <DialogActions>
        <Button onClick={onClose}>Cancel</Button>
        <Button type="submit" variant="primary" busy={invite.isPending}>
          Make invitation
        </Button>
      </DialogActions>
    </form>
  );
}
