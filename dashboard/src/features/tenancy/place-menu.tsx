import type { UseMutationResult } from "@tanstack/react-query";
import { Ellipsis } from "lucide-react";
import { type ReactNode, useState } from "react";
import { errorMessage } from "../../lib/problem";
import { Button } from "../../ui/button";
import { Confirm } from "../../ui/confirm";
import { Menu, MenuItem, MenuSeparator } from "../../ui/menu";
import { toast } from "../../ui/toast";
import { NameDialog } from "./name-dialog";

/** Renames and deletes a client or a site. */
export function PlaceMenu<Change>({
  kind,
  name,
  rename,
  toChange,
  remove,
  warning,
  onDeleted,
}: {
  kind: "client" | "site";
  name: string;
  rename: UseMutationResult<unknown, Error, Change>;
  /** What the renaming is called with. */
  toChange: (name: string) => Change;
  remove: UseMutationResult<unknown, Error, void>;
  /** What must be so before it can be deleted, and what goes with it. */
  warning: ReactNode;
  onDeleted: () => void;
}) {
  const [dialog, setDialog] = useState<"rename" | "delete" | null>(null);
  const close = () => {
    setDialog(null);
    rename.reset();
    remove.reset();
  };
  return (
    <>
      <Menu
        trigger={
          <Button size="icon" aria-label={`More actions for ${name}`}>
            <Ellipsis aria-hidden />
          </Button>
        }
      >
        <MenuItem onSelect={() => setDialog("rename")}>Rename</MenuItem>
        <MenuSeparator />
        <MenuItem danger onSelect={() => setDialog("delete")}>
          Delete {kind}
        </MenuItem>
      </Menu>
      <NameDialog
        open={dialog === "rename"}
        onClose={close}
        title={`Rename ${kind}`}
        label="Name"
        initial={name}
        action="Rename"
        busy={rename.isPending}
        error={rename.error}
        onSubmit={(next) => rename.mutate(toChange(next), { onSuccess: close })}
      />
      <Confirm
        open={dialog === "delete"}
        onOpenChange={(open) => {
          if (!open) close();
        }}
        title={`Delete ${name}?`}
        action={`Delete ${kind}`}
        busy={remove.isPending}
        error={remove.error && errorMessage(remove.error)}
        onConfirm={() =>
          remove.mutate(undefined, {
            onSuccess: () => {
              toast.done(`${name} was deleted.`);
              onDeleted();
            },
          })
        }
      >
        <p>{warning}</p>
      </Confirm>
    </>
  );
}
