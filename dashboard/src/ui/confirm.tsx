import { AlertDialog } from "radix-ui";
import { type ReactNode, useState } from "react";
import { Button } from "./button";
import { Field, FormError } from "./field";
import { useFocusReturn } from "./focus-return";
import { Input } from "./input";

/** Asks before something that cannot be taken back. `typed` is a word that must be typed first. */
export function Confirm({
  open,
  onOpenChange,
  title,
  children,
  action,
  busy = false,
  error,
  danger = true,
  typed,
  onConfirm,
}: {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  title: string;
  children: ReactNode;
  action: string;
  busy?: boolean;
  error?: string | null;
  danger?: boolean;
  typed?: string;
  onConfirm: () => void;
}) {
  const [text, setText] = useState("");
  const focusReturn = useFocusReturn();
  const ready = typed === undefined || text === typed;
  return (
    <AlertDialog.Root
      open={open}
      onOpenChange={(next) => {
        setText("");
        onOpenChange(next);
      }}
    >
      <AlertDialog.Portal>
        <AlertDialog.Overlay className="fixed inset-0 z-40 animate-overlay bg-black/45" />
        <AlertDialog.Content
          {...focusReturn}
          className="fixed top-1/2 left-1/2 z-50 grid max-h-[calc(100dvh-2rem)] w-[calc(100vw-2rem)] max-w-md -translate-x-1/2 -translate-y-1/2 gap-3 overflow-y-auto rounded-lg border border-line bg-raised p-5 shadow-float"
        >
          <AlertDialog.Title className="font-semibold text-lg">{title}</AlertDialog.Title>
          <AlertDialog.Description asChild>
            <div className="grid gap-2 text-base text-ink-2">{children}</div>
          </AlertDialog.Description>
          {typed !== undefined && (
            <Field
              label={
                <>
                  Type <span className="font-mono">{typed}</span> to confirm
                </>
              }
            >
              <Input
                value={text}
                onChange={(event) => setText(event.target.value)}
                autoComplete="off"
                spellCheck={false}
              />
            </Field>
          )}
          <FormError>{error}</FormError>
          <div className="mt-2 flex justify-end gap-2">
            <AlertDialog.Cancel asChild>
              <Button>Cancel</Button>
            </AlertDialog.Cancel>
            <Button
              variant={danger ? "danger" : "primary"}
              busy={busy}
              disabled={!ready}
              onClick={onConfirm}
            >
              {action}
            </Button>
          </div>
        </AlertDialog.Content>
      </AlertDialog.Portal>
    </AlertDialog.Root>
  );
}
