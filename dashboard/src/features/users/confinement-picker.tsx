import { useQuery } from "@tanstack/react-query";
import { ErrorState, SkeletonRows } from "../../ui/states";
import { Checkbox } from "../../ui/toggle";
import { treeQuery } from "../tenancy/queries";
import type { Confinement } from "./queries";

/** Limits someone to some clients or sites. Nothing chosen means everything. */
export function ConfinementPicker({
  value,
  onChange,
  disabled = false,
}: {
  value: Confinement;
  onChange: (value: Confinement) => void;
  disabled?: boolean;
}) {
  const tree = useQuery(treeQuery);
  if (tree.isPending) return <SkeletonRows rows={2} />;
  if (tree.isError && !tree.data)
    return <ErrorState error={tree.error} onRetry={() => tree.refetch()} />;
  const toggle = (list: readonly string[], id: string, on: boolean) =>
    on ? [...list, id] : list.filter((entry) => entry !== id);
  return (
    <fieldset disabled={disabled} className="min-w-0">
      <legend className="mb-1 font-medium text-sm">Limited to</legend>
      <p className="mb-2 text-ink-3 text-sm">
        {value.client_ids.length + value.site_ids.length === 0
          ? "Nothing is ticked: every client and site is visible."
          : "Only what is ticked is visible."}
      </p>
      <ul className="scroll-thin grid max-h-56 gap-2 overflow-y-auto rounded-md border border-line p-3">
        {tree.data.clients.length === 0 && <li className="text-base text-ink-3">No clients yet</li>}
        {tree.data.clients.map((client) => {
          const whole = value.client_ids.includes(client.id);
          return (
            <li key={client.id} className="grid gap-1.5">
              <Checkbox
                label={client.name}
                disabled={disabled}
                checked={whole}
                onCheckedChange={(on) =>
                  onChange({
                    client_ids: toggle(value.client_ids, client.id, on),
                    // A whole client includes its sites.
                    site_ids: on
                      ? value.site_ids.filter((id) => !client.sites.some((site) => site.id === id))
                      : value.site_ids,
                  })
                }
              />
              <div className="ml-6.5 grid gap-1.5">
                {client.sites.map((site) => (
                  <Checkbox
                    key={site.id}
                    label={site.name}
                    disabled={disabled || whole}
                    checked={whole || value.site_ids.includes(site.id)}
                    onCheckedChange={(on) =>
                      onChange({ ...value, site_ids: toggle(value.site_ids, site.id, on) })
                    }
                  />
                ))}
              </div>
            </li>
          );
        })}
      </ul>
    </fieldset>
  );
}
