import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import type { Policy, PolicyScope } from "../../api/types";
import { formatBytes } from "../../lib/format";
import { ApiError, errorMessage } from "../../lib/problem";
import { Button } from "../../ui/button";
import { Field, FormError } from "../../ui/field";
import { Input, Select, Textarea } from "../../ui/input";
import { Panel } from "../../ui/panel";
import { ErrorState, SkeletonRows } from "../../ui/states";
import { RelativeTime } from "../../ui/time";
import { toast } from "../../ui/toast";
import { useDenied, useSession } from "../session/session";
import { POLICY_FIELDS, sizeChoices, toDraft, toSettings } from "./fields";
import { policyQuery } from "./queries";
import { WindowField } from "./window-field";

/** What is set at one level. A field left to inherit takes its value from the level above. */
export function PolicyEditor({
  scope,
  id,
  title = "Policy",
  description,
}: {
  scope: PolicyScope;
  id: string;
  title?: string;
  description: string;
}) {
  const query = useQuery(policyQuery(scope, id));
  return (
    <Panel
      title={title}
      description={description}
      actions={
        query.data?.updated_at && (
          <span className="text-ink-3 text-sm">
            changed <RelativeTime time={query.data.updated_at} />
            {query.data.updated_by_name && ` by ${query.data.updated_by_name}`}
          </span>
        )
      }
    >
      {query.isPending ? (
        <SkeletonRows rows={3} />
      ) : query.isError && !query.data ? (
        <ErrorState error={query.error} onRetry={() => query.refetch()} />
      ) : (
        <PolicyForm
          key={`${id}${query.data.updated_at}`}
          scope={scope}
          id={id}
          policy={query.data}
        />
      )}
    </Panel>
  );
}

function PolicyForm({ scope, id, policy }: { scope: PolicyScope; id: string; policy: Policy }) {
  const queryClient = useQueryClient();
  const session = useSession();
  const roleDenied = useDenied(scope === "platform" ? "manage_platform" : "manage_policies");
  const denied =
    roleDenied ??
    (scope === "partner" && session.confined
      ? "Your access is limited to some clients or sites; this applies to all."
      : null);
  const [draft, setDraft] = useState(() => toDraft(policy.settings));
  const save = useMutation({
    mutationFn: () =>
      unwrap(
        api.PUT("/api/v1/policies/{scope}/{id}", {
          params: { path: { scope, id } },
          // The document leaves the settings' names open, which the generator takes for none at all.
          body: { settings: toSettings(draft) as Record<string, never> },
        }),
      ),
    onSuccess: async (saved) => {
      toast.done("Policy saved. Connected machines follow it at once.");
      queryClient.setQueryData(policyQuery(scope, id).queryKey, saved);
      await queryClient.invalidateQueries({ queryKey: ["effective-policy"] });
      await queryClient.invalidateQueries({ queryKey: keys.policies });
    },
  });
  const fieldError = (name: string) =>
    save.error instanceof ApiError
      ? save.error.fields.find(({ field }) => field === name || field.endsWith(`.${name}`))?.message
      : undefined;
  const changed = JSON.stringify(draft) !== JSON.stringify(toDraft(policy.settings));
  const set = (name: string, value: string) => setDraft({ ...draft, [name]: value });
  const placed = POLICY_FIELDS.some(({ name }) => fieldError(name) !== undefined);
  const inherit = scope === "platform" ? "Built-in default" : "Inherit";
  return (
    <form
      className="grid gap-5"
      onSubmit={(event) => {
        event.preventDefault();
        if (changed) save.mutate();
      }}
    >
      <div className="grid gap-5 md:grid-cols-3">
        {POLICY_FIELDS.map((field) => (
          <Field
            key={field.name}
            label={field.label}
            hint={field.hint}
            error={fieldError(field.name)}
          >
            {field.input.kind === "window" ? (
              <WindowField
                inherit={inherit}
                disabled={denied !== null}
                value={draft[field.name] ?? ""}
                onChange={(value) => set(field.name, value)}
              />
            ) : field.input.kind === "list" ? (
              <Textarea
                rows={2}
                spellCheck={false}
                placeholder={`${inherit}, or ${field.input.example}`}
                disabled={denied !== null}
                value={draft[field.name] ?? ""}
                onChange={(event) => set(field.name, event.target.value)}
              />
            ) : "min" in field.input ? (
              <Input
                type="number"
                inputMode="numeric"
                min={field.input.min}
                max={field.input.max}
                placeholder={inherit}
                disabled={denied !== null}
                value={draft[field.name] ?? ""}
                onChange={(event) => set(field.name, event.target.value)}
              />
            ) : (
              <Select
                disabled={denied !== null}
                value={draft[field.name] ?? ""}
                onChange={(event) => set(field.name, event.target.value)}
              >
                <option value="">{inherit}</option>
                {field.input.kind === "switch" ? (
                  <>
                    <option value="true">On</option>
                    <option value="false">Off</option>
                  </>
                ) : field.input.kind === "choice" ? (
                  field.input.options.map((option) => (
                    <option key={option} value={option}>
                      {option}
                    </option>
                  ))
                ) : (
                  sizeChoices(draft[field.name] ?? "").map((size) => (
                    <option key={size} value={size}>
                      {formatBytes(size)}
                    </option>
                  ))
                )}
              </Select>
            )}
          </Field>
        ))}
      </div>
      {save.error && !placed && <FormError>{errorMessage(save.error)}</FormError>}
      <div className="flex gap-2">
        <Button
          type="submit"
          variant="primary"
          busy={save.isPending}
          disabled={!changed}
          disabledReason={denied}
        >
          Save policy
        </Button>
        {changed && (
          <Button variant="quiet" onClick={() => setDraft(toDraft(policy.settings))}>
            Discard
          </Button>
        )}
      </div>
    </form>
  );
}
