import { useMutation, useQueryClient } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import type { Agent, AgentUninstall } from "../../api/types";
import { errorMessage } from "../../lib/problem";
import { Button } from "../../ui/button";
import { Confirm } from "../../ui/confirm";
import { DateTime } from "../../ui/time";
import { toast } from "../../ui/toast";
import { useDenied } from "../session/session";

function useRefresh() {
  const queryClient = useQueryClient();
  return (id: string) =>
    Promise.all(
      [keys.agents, keys.agent(id), keys.alerts].map((queryKey) =>
        queryClient.invalidateQueries({ queryKey }),
      ),
    );
}

/** Orders the agent off the machine, now or when it is next there. */
export function UninstallAgent({
  agent,
  open,
  onClose,
}: {
  agent: Agent;
  open: boolean;
  onClose: () => void;
}) {
  const refresh = useRefresh();
  const uninstall = useMutation({
    mutationFn: () =>
      unwrap(
        api.POST("/api/v1/agents/{id}/uninstall", {
          params: { path: { id: agent.id } },
          // The machine that was looked at: an order for one of another name is refused.
          body: { hostname: agent.hostname },
        }),
      ),
    onSuccess: async () => {
      onClose();
      await refresh(agent.id);
    },
  });
  return (
    <Confirm
      open={open}
      onOpenChange={(next) => {
        if (!next) onClose();
        uninstall.reset();
      }}
      title={`Uninstall the agent of ${agent.hostname}?`}
      action="Uninstall"
      typed={agent.hostname}
      busy={uninstall.isPending}
      error={uninstall.error && errorMessage(uninstall.error)}
      onConfirm={() => uninstall.mutate()}
    >
      <p>
        The agent removes itself with everything it keeps on the machine, and can be brought back
        only by installing it there. The machine is then retired; its history stays.
      </p>
      {!agent.is_connected && (
        <p>The machine is offline: the order waits for it for 30 days, and can be taken back.</p>
      )}
    </Confirm>
  );
}

/** How far the removal is that was ordered last; nothing where that is over and of no interest any more. */
export function UninstallNotice({ agent, uninstall }: { agent: Agent; uninstall: AgentUninstall }) {
  const refresh = useRefresh();
  const denied = useDenied("manage_agents");
  const cancel = useMutation({
    mutationFn: () =>
      unwrap(
        api.POST("/api/v1/agents/{id}/uninstall/cancel", { params: { path: { id: agent.id } } }),
      ),
    onSuccess: async () => {
      toast.done(`${agent.hostname} is not uninstalled.`);
      await refresh(agent.id);
    },
    onError: async (error) => {
      toast.failed(error);
      await refresh(agent.id);
    },
  });
  const said = SAYS[uninstall.status]?.(uninstall);
  if (!said) return null;
  return (
    <section
      aria-label="Uninstalling"
      className="mb-5 flex flex-wrap items-center justify-between gap-3 rounded-lg border border-line bg-sunken px-4 py-3"
    >
      <div className="min-w-0 max-w-prose">
        <h2 className="font-semibold text-base">{said.title}</h2>
        <p className="text-base text-ink-2 wrap-anywhere">
          {said.text} Ordered <DateTime time={uninstall.ordered_at} />
          {uninstall.ordered_by_name && <> by {uninstall.ordered_by_name}</>}.
        </p>
      </div>
      {uninstall.status === "ordered" && (
        <Button disabledReason={denied} busy={cancel.isPending} onClick={() => cancel.mutate()}>
          Do not uninstall
        </Button>
      )}
    </section>
  );
}

type Says = { title: string; text: ReactNode };

const SAYS: Partial<Record<AgentUninstall["status"], (uninstall: AgentUninstall) => Says>> = {
  ordered: ({ valid_until }) => ({
    title: "The agent will be uninstalled when the machine is next online",
    text: (
      <>
        The order stands until <DateTime time={valid_until} />.
      </>
    ),
  }),
  uninstalling: ({ changed_at }) => ({
    title: "The agent is being uninstalled",
    text: (
      <>
        The machine began at <DateTime time={changed_at} />, and says when it is done.
      </>
    ),
  }),
  uninstalled: ({ changed_at }) => ({
    title: "The agent was uninstalled",
    text: (
      <>
        The machine said so at <DateTime time={changed_at} />.
      </>
    ),
  }),
  unconfirmed: ({ changed_at }) => ({
    title: "The agent was probably uninstalled",
    text: (
      <>
        The machine began and has not been heard of since; given up at{" "}
        <DateTime time={changed_at} />.
      </>
    ),
  }),
  failed: ({ changed_at, error, error_code }) => ({
    title: "The agent was not uninstalled",
    text: (
      <>
        It failed at <DateTime time={changed_at} />: {error ?? error_code}.
      </>
    ),
  }),
  expired: ({ valid_until }) => ({
    title: "The agent was not uninstalled",
    text: (
      <>
        The machine was not online until <DateTime time={valid_until} />.
      </>
    ),
  }),
};
