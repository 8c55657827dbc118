import { zodResolver } from "@hookform/resolvers/zod";
import { useForm } from "react-hook-form";
import { z } from "zod";
import type { KeyOnce } from "../../api/types";
import { applyProblem } from "../../lib/form";
import { Button } from "../../ui/button";
import { Dialog, DialogActions } from "../../ui/dialog";
import { Field, FormError } from "../../ui/field";
import { Input, Select } from "../../ui/input";
import { useCreateToken } from "./queries";

const schema = z.object({
  expires_in_hours: z.string(),
  max_uses: z
    .string()
    .trim()
    .regex(/^\d*$/, "Enter a whole number.")
    .refine((text) => text === "" || (Number(text) >= 1 && Number(text) <= 10_000), {
      message: "Between 1 and 10,000 machines.",
    }),
  label: z.string().trim().max(100, "Use at most 100 characters."),
});

/** Makes a deployment token: a key for one occasion, that ends by itself. */
export function TokenDialog({
  siteId,
  open,
  onClose,
  onCreated,
}: {
  siteId: string;
  open: boolean;
  onClose: () => void;
  onCreated: (once: KeyOnce) => void;
}) {
  const form = useForm({
    resolver: zodResolver(schema),
    defaultValues: { expires_in_hours: "24", max_uses: "", label: "" },
  });
  const create = useCreateToken(siteId);
  const { errors } = form.formState;
  return (
    <Dialog
      open={open}
      onOpenChange={(next) => {
        if (!next) onClose();
      }}
      title="Make an install command"
      description="The command carries a deployment token that ends by itself."
    >
      <form
        noValidate
        className="grid gap-4"
        onSubmit={form.handleSubmit((values) =>
          create.mutate(
            {
              expires_in_hours: Number(values.expires_in_hours),
              ...(values.max_uses !== "" && { max_uses: Number(values.max_uses) }),
              ...(values.label !== "" && { label: values.label }),
            },
            {
              onSuccess: (once) => {
                form.reset();
                onCreated(once);
              },
              onError: (error) => applyProblem(form, error),
            },
          ),
        )}
      >
        <FormError>{errors.root?.message}</FormError>
        <div className="grid gap-4 sm:grid-cols-2">
          <Field label="Valid for" error={errors.expires_in_hours?.message}>
            <Select {...form.register("expires_in_hours")}>
              <option value="1">1 hour</option>
              <option value="24">1 day</option>
              <option value="168">1 week</option>
              <option value="720">30 days</option>
            </Select>
          </Field>
          <Field
            label="Machines"
            optional
            hint="How many may use it."
            error={errors.max_uses?.message}
          >
            <Input inputMode="numeric" placeholder="Any number" {...form.register("max_uses")} />
          </Field>
        </div>
        <Field label="Note" optional hint="What it is for." error={errors.label?.message}>
          <Input autoComplete="off" {...form.register("label")} />
        </Field>
        <DialogActions>
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" variant="primary" busy={create.isPending}>
            Make command
          </Button>
        </DialogActions>
      </form>
    </Dialog>
  );
}
