import { type ReactNode, useState } from "react";
import { ApiError, errorMessage } from "../../lib/problem";
import { Button } from "../../ui/button";
import { Dialog, DialogActions } from "../../ui/dialog";
import { Field, FormError } from "../../ui/field";
import { Input } from "../../ui/input";

/** Asks for one name, for making or renaming a client or a site. */
export function NameDialog({
  open,
  onClose,
  title,
  description,
  label,
  initial = "",
  action,
  busy,
  error,
  children,
  onSubmit,
}: {
  open: boolean;
  onClose: () => void;
  title: string;
  description?: string;
  label: string;
  initial?: string;
  action: string;
  busy: boolean;
  error: unknown;
  children?: ReactNode;
  onSubmit: (name: string) => void;
}) {
  return (
    <Dialog
      open={open}
      onOpenChange={(next) => {
        if (!next) onClose();
      }}
      title={title}
      description={description}
    >
      <NameForm
        label={label}
        initial={initial}
        action={action}
        busy={busy}
        error={error}
        onClose={onClose}
        onSubmit={onSubmit}
      >
        {children}
      </NameForm>
    </Dialog>
  );
}

function NameForm({
  label,
  initial,
  action,
  busy,
  error,
  children,
  onClose,
  onSubmit,
}: {
  label: string;
  initial: string;
  action: string;
  busy: boolean;
  error: unknown;
  children?: ReactNode;
  onClose: () => void;
  onSubmit: (name: string) => void;
}) {
  const [name, setName] = useState(initial);
  const fieldError =
    error instanceof ApiError ? error.fields.find(({ field }) => field === "name") : undefined;
  return (
    <form
      className="grid gap-4"
      onSubmit={(event) => {
        event.preventDefault();
        if (name.trim() !== "") onSubmit(name.trim());
      }}
    >
      <Field label={label} error={fieldError?.message}>
        <Input
          value={name}
          maxLength={120}
          autoComplete="off"
          onChange={(event) => setName(event.target.value)}
        />
      </Field>
      {children}
      {error !== null && error !== undefined && !fieldError && (
        <FormError>{errorMessage(error)}</FormError>
      )}
      <DialogActions>
        <Button onClick={onClose}>Cancel</Button>
        <Button type="submit" variant="primary" busy={busy} disabled={name.trim() === ""}>
          {action}
        </Button>
      </DialogActions>
    </form>
  );
}
