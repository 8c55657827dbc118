import { zodResolver } from "@hookform/resolvers/zod";
import { queryOptions, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useForm } from "react-hook-form";
import { z } from "zod";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import type { Partner } from "../../api/types";
import { applyProblem } from "../../lib/form";
import { Button } from "../../ui/button";
import { Field, FormError } from "../../ui/field";
import { Input, Select } from "../../ui/input";
import { Panel } from "../../ui/panel";
import { ErrorState, SkeletonRows } from "../../ui/states";
import { toast } from "../../ui/toast";
import { PolicyEditor } from "../policies/policy-editor";
import { sessionQuery, useDenied, useSession } from "../session/session";
import { PageHeader } from "../shell/page-header";

const partnerQuery = queryOptions({
  queryKey: keys.partner,
  queryFn: () => unwrap(api.GET("/api/v1/partner")),
});

export function SettingsPage() {
  const query = useQuery(partnerQuery);
  const session = useSession();
  return (
    <>
      <PageHeader title="Settings" documentTitle="Settings" meta={session.partner?.name} />
      <div className="grid gap-5">
        <Panel title="Organisation">
          {query.isPending ? (
            <SkeletonRows rows={2} />
          ) : query.isError && !query.data ? (
            <ErrorState error={query.error} onRetry={() => query.refetch()} />
          ) : (
            <PartnerForm partner={query.data} />
          )}
        </Panel>
        {session.partner && (
          <PolicyEditor
            scope="partner"
            id={session.partner.id}
            title="Policy for the whole fleet"
            description="Applies everywhere, unless a client, a site or a machine says otherwise. Theirs are set on their own pages."
          />
        )}
      </div>
    </>
  );
}

const RETENTION = [
  { value: "30", label: "30 days" },
  { value: "90", label: "90 days" },
  { value: "365", label: "1 year" },
  { value: "1095", label: "3 years" },
] as const;

const schema = z.object({
  name: z.string().trim().min(1, "Enter a name.").max(120, "Use at most 120 characters."),
  retention_days: z.string(),
});

function PartnerForm({ partner }: { partner: Partner }) {
  const queryClient = useQueryClient();
  const denied = useDenied("manage_partner");
  const form = useForm({
    resolver: zodResolver(schema),
    values: { name: partner.name, retention_days: String(partner.retention_days) },
  });
  const save = useMutation({
    mutationFn: (values: z.infer<typeof schema>) =>
      unwrap(
        api.PATCH("/api/v1/partner", {
          body: { name: values.name, retention_days: Number(values.retention_days) },
        }),
      ),
    onSuccess: async (saved) => {
      toast.done("Settings saved.");
      queryClient.setQueryData(keys.partner, saved);
      await Promise.all([
        queryClient.invalidateQueries(sessionQuery),
        queryClient.invalidateQueries({ queryKey: keys.tree }),
      ]);
    },
    onError: (error) => applyProblem(form, error),
  });
  const { errors, isDirty } = form.formState;
  return (
    <form
      noValidate
      className="grid gap-4"
      onSubmit={form.handleSubmit((values) => save.mutate(values))}
    >
      <FormError>{errors.root?.message}</FormError>
      <div className="grid gap-4 sm:grid-cols-2">
        <Field label="Name" error={errors.name?.message}>
          <Input disabled={denied !== null} {...form.register("name")} />
        </Field>
        <Field
          label="Keep metrics for"
          hint="A shorter time removes what is older, for good."
          error={errors.retention_days?.message}
        >
          <Select disabled={denied !== null} {...form.register("retention_days")}>
            {RETENTION.map(({ value, label }) => (
              <option key={value} value={value}>
                {label}
              </option>
            ))}
          </Select>
        </Field>
      </div>
      <div>
        <Button
          type="submit"
          variant="primary"
          busy={save.isPending}
          disabled={!isDirty && denied === null}
          disabledReason={denied}
        >
          Save settings
        </Button>
      </div>
    </form>
  );
}
