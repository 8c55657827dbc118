import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useId, useState } from "react";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import type { Agent, Duplicate, KeyOnce, MergeKey } from "../../api/types";
import { errorMessage } from "../../lib/problem";
import { Badge } from "../../ui/badge";
import { Button } from "../../ui/button";
import { Confirm } from "../../ui/confirm";
import { Dialog, DialogActions } from "../../ui/dialog";
import { FormError } from "../../ui/field";
import { EmptyState, ErrorState, SkeletonRows } from "../../ui/states";
import { DateTime, RelativeTime } from "../../ui/time";
import { toast } from "../../ui/toast";
import { KeyReveal } from "../enrollment/key-reveal";
import { useDenied } from "../session/session";
import { treeQuery } from "../tenancy/queries";
import { AgentStatusLabel } from "./agent-status";

interface LifeDialog {
  agent: Agent;
  open: boolean;
  onClose: () => void;
}

function useRefresh() {
  const queryClient = useQueryClient();
  return (...ids: string[]) =>
    Promise.all(
      [keys.agents, keys.tree, keys.overview, keys.sites, ...ids.map(keys.agent)].map((queryKey) =>
        queryClient.invalidateQueries({ queryKey }),
      ),
    );
}

/** A machine that was taken out: its history is there, and the way back. */
export function RetiredNotice({ agent }: { agent: Agent }) {
  const refresh = useRefresh();
  const denied = useDenied("manage_agents");
  const restore = useMutation({
    mutationFn: () =>
      unwrap(api.POST("/api/v1/agents/{id}/restore", { params: { path: { id: agent.id } } })),
    onSuccess: async () => {
      toast.done(`${agent.hostname} is back.`);
      await refresh(agent.id);
    },
    onError: toast.failed,
  });
  return (
    <section
      aria-label="Retired"
      className="mb-5 flex flex-wrap items-center justify-between gap-3 rounded-lg border border-line bg-sunken px-4 py-3"
    >
      <div className="min-w-0 max-w-prose">
        <h2 className="font-semibold text-base">This machine is retired</h2>
        <p className="text-base text-ink-2">
          Since <DateTime time={agent.retired_at} />. Its key is refused, and its history is kept as
          long as the organisation keeps things.
        </p>
      </div>
      <Button disabledReason={denied} busy={restore.isPending} onClick={() => restore.mutate()}>
        Bring it back
      </Button>
    </section>
  );
}

export function RetireAgent({ agent, open, onClose }: LifeDialog) {
  const refresh = useRefresh();
  const retire = useMutation({
    mutationFn: () =>
      unwrap(api.POST("/api/v1/agents/{id}/retire", { params: { path: { id: agent.id } } })),
    onSuccess: async () => {
      toast.done(`${agent.hostname} is retired.`);
      onClose();
      await refresh(agent.id);
    },
  });
  return (
    <Confirm
      open={open}
      onOpenChange={(next) => {
        if (!next) onClose();
        retire.reset();
      }}
      title={`Retire ${agent.hostname}?`}
      action="Retire"
      busy={retire.isPending}
      error={retire.error && errorMessage(retire.error)}
      onConfirm={() => retire.mutate()}
    >
      <p>
        Its key is refused at once, and it is out of all lists and counts. Its history stays, and it
        can be brought back. The program on the machine is not uninstalled.
      </p>
    </Confirm>
  );
}

const REASONS: Record<Duplicate["reasons"][number], string> = {
  machine_uid: "same identity",
  board_serial: "same board",
  disk_serial: "same disk",
  mac_address: "same network card",
  hostname: "same name",
};

/** Shows what may be other records of the machine, and makes one of them part of this one. */
export function MergeAgent({ agent, open, onClose }: LifeDialog) {
  const refresh = useRefresh();
  const group = useId();
  const [mergedId, setMergedId] = useState<string | null>(null);
  const [chosenKey, setChosenKey] = useState<MergeKey | null>(null);
  const duplicates = useQuery({
    queryKey: [...keys.agents, "duplicates", agent.id],
    queryFn: () =>
      unwrap(api.GET("/api/v1/agents/{id}/duplicates", { params: { path: { id: agent.id } } })),
    enabled: open,
  });
  const merged = duplicates.data?.find(({ agent: { id } }) => id === mergedId)?.agent;
  // The machine that is there, or was there last, goes on.
  const key: MergeKey =
    chosenKey ??
    (merged && merged.status !== "retired" && isLater(merged, agent) ? "merged" : "kept");
  const merge = useMutation({
    mutationFn: (merged_id: string) =>
      unwrap(
        api.POST("/api/v1/agents/{id}/merge", {
          params: { path: { id: agent.id } },
          body: { merged_id, key },
        }),
      ),
    onSuccess: async () => {
      toast.done(`${agent.hostname} has the history of both records.`);
      close();
      await refresh(agent.id);
    },
  });
  const close = () => {
    setMergedId(null);
    setChosenKey(null);
    merge.reset();
    onClose();
  };
  const choice = (value: MergeKey, label: string, hint: string) => (
    <label className="flex items-start gap-2 text-base">
      <input
        type="radio"
        name={`${group}-key`}
        className="mt-1 accent-(--accent)"
        checked={key === value}
        disabled={value === "merged" && merged?.status === "retired"}
        onChange={() => setChosenKey(value)}
      />
      <span>
        {label}
        <span className="block text-ink-3 text-sm">{hint}</span>
      </span>
    </label>
  );
  return (
    <Dialog
      open={open}
      onOpenChange={(next) => {
        if (!next) close();
      }}
      title={`Merge another record into ${agent.hostname}`}
      description="This record stays. The other one's history becomes part of it, and the other record goes. There is no way back."
      className="max-w-2xl"
    >
      {duplicates.isPending ? (
        <SkeletonRows rows={2} />
      ) : !duplicates.data ? (
        <ErrorState error={duplicates.error} onRetry={() => duplicates.refetch()} />
      ) : duplicates.data.length === 0 ? (
        <EmptyState title="No other record looks like this machine" className="py-8">
          Records are compared by identity, serial numbers, network cards and name.
        </EmptyState>
      ) : (
        <form
          className="grid gap-4"
          onSubmit={(event) => {
            event.preventDefault();
            if (mergedId) merge.mutate(mergedId);
          }}
        >
          <fieldset className="grid gap-2">
            <legend className="mb-1 font-medium text-sm">Which record goes</legend>
            {duplicates.data.map(({ agent: other, reasons }) => (
              <label
                key={other.id}
                className="flex items-start gap-3 rounded-md border border-line px-3 py-2 has-checked:border-accent"
              >
                <input
                  type="radio"
                  name={`${group}-record`}
                  className="mt-1 accent-(--accent)"
                  checked={mergedId === other.id}
                  onChange={() => setMergedId(other.id)}
                />
                <Record agent={other} reasons={reasons} />
              </label>
            ))}
          </fieldset>
          {merged && (
            <>
              <div className="rounded-md border border-line bg-sunken px-3 py-2">
                <p className="mb-1 font-medium text-sm">What stays</p>
                <Record agent={agent} />
              </div>
              <fieldset className="grid gap-2">
                <legend className="mb-1 font-medium text-sm">Whose key works from then on</legend>
                {choice("kept", "The key of the record that stays", "The other key is refused.")}
                {choice(
                  "merged",
                  "The key of the record that goes",
                  "For a machine that was set up anew: it goes on under the record that stays.",
                )}
              </fieldset>
            </>
          )}
          <FormError>{merge.error && errorMessage(merge.error)}</FormError>
          <DialogActions>
            <Button onClick={close}>Cancel</Button>
            <Button type="submit" variant="danger" busy={merge.isPending} disabled={!merged}>
              Merge
            </Button>
          </DialogActions>
        </form>
      )}
    </Dialog>
  );
}

function isLater(one: Agent, other: Agent): boolean {
  if (one.is_connected !== other.is_connected) return one.is_connected;
  return (one.last_seen ?? "") > (other.last_seen ?? "");
}

function Record({ agent, reasons = [] }: { agent: Agent; reasons?: Duplicate["reasons"] }) {
  return (
    <span className="grid min-w-0 gap-0.5 text-base">
      <span className="flex flex-wrap items-center gap-x-3 gap-y-1">
        <span className="font-medium wrap-anywhere">{agent.hostname}</span>
        <AgentStatusLabel agent={agent} />
        {reasons.map((reason) => (
          <Badge key={reason} tone="accent">
            {REASONS[reason] ?? reason}
          </Badge>
        ))}
      </span>
      <span className="text-ink-2 text-sm wrap-anywhere">
        {agent.client_name} / {agent.site_name}, enrolled <DateTime time={agent.enrolled_at} />,
        last seen <RelativeTime time={agent.last_seen} />
      </span>
    </span>
  );
}

/** Gives up a key that may have been copied; the machine enrolls anew as itself. */
export function ReenrollAgent({ agent, open, onClose }: LifeDialog) {
  const refresh = useRefresh();
  const tree = useQuery(treeQuery);
  const [once, setOnce] = useState<KeyOnce | null>(null);
  const reenroll = useMutation({
    mutationFn: () =>
      unwrap(api.POST("/api/v1/agents/{id}/reenroll", { params: { path: { id: agent.id } } })),
    onSuccess: async (made) => {
      setOnce(made);
      await refresh(agent.id);
    },
  });
  const site = tree.data?.clients
    .flatMap(({ sites }) => sites)
    .find(({ id }) => id === agent.site_id);
  const close = () => {
    setOnce(null);
    reenroll.reset();
    onClose();
  };
  return (
    <>
      <Confirm
        open={open && once === null}
        onOpenChange={(next) => {
          if (!next) close();
        }}
        title={`Let ${agent.hostname} enroll anew?`}
        action="Give up its key"
        busy={reenroll.isPending}
        error={reenroll.error && errorMessage(reenroll.error)}
        onConfirm={() => reenroll.mutate()}
      >
        <p>
          Its key is refused at once, wherever it is used. The machine is offline until someone runs
          a new command on it; then it is itself again, with its history.
        </p>
      </Confirm>
      <Dialog
        open={open && once !== null}
        onOpenChange={(next) => {
          if (!next) close();
        }}
        title={`Enroll ${agent.hostname} anew`}
        description="The key is for this one machine, for a day, and is shown this once. Run the command by hand with --replace, since the machine still has its old key."
        className="max-w-2xl"
      >
        {once && site && <KeyReveal keyOnce={once} siteCode={site.code} replace />}
        <DialogActions>
          <Button onClick={close}>Done</Button>
        </DialogActions>
      </Dialog>
    </>
  );
}
