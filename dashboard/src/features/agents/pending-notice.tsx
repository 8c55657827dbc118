import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import type { Agent } from "../../api/types";
import { errorMessage } from "../../lib/problem";
import { Button } from "../../ui/button";
import { Confirm } from "../../ui/confirm";
import { toast } from "../../ui/toast";
import { useDenied } from "../session/session";
import { isIdentityInQuestion, pendingReason } from "./pending-reasons";

type Decision = "new" | "same_machine" | "accept";

/** A machine that waits for someone to decide, and the decisions there are. */
export function PendingNotice({ agent }: { agent: Agent }) {
  const queryClient = useQueryClient();
  const navigate = useNavigate();
  const denied = useDenied("manage_agents");
  const [rejecting, setRejecting] = useState(false);
  const refresh = () =>
    Promise.all(
      [keys.agents, keys.agent(agent.id), keys.tree, keys.overview, keys.alerts].map((queryKey) =>
        queryClient.invalidateQueries({ queryKey }),
      ),
    );
  const approve = useMutation({
    mutationFn: (as: Decision) =>
      unwrap(
        api.POST("/api/v1/agents/{id}/approve", {
          params: { path: { id: agent.id } },
          // The key that was looked at: another one that came meanwhile is not let in.
          body: { as, key_fingerprint: agent.key_fingerprint },
        }),
      ),
    onSuccess: async (approved) => {
      toast.done(`${approved.hostname} was approved.`);
      if (approved.id !== agent.id) {
        await navigate({ to: "/agents/$agentId", params: { agentId: approved.id } });
      }
      await refresh();
    },
    onError: async (error) => {
      toast.failed(error);
      await refresh();
    },
  });
  const reject = useMutation({
    mutationFn: () =>
      unwrap(api.POST("/api/v1/agents/{id}/reject", { params: { path: { id: agent.id } } })),
    onSuccess: async () => {
      toast.done(`${agent.hostname} was rejected.`);
      await navigate({ to: "/agents", search: {} });
      await refresh();
    },
  });
  const inQuestion = isIdentityInQuestion(agent.pending_reason);
  const decide = (as: Decision) => ({
    onClick: () => approve.mutate(as),
    busy: approve.isPending && approve.variables === as,
    disabledReason: denied,
  });
  return (
    <section
      aria-label="Waiting for a decision"
      className="mb-5 flex flex-wrap items-center justify-between gap-3 rounded-lg border border-warn/50 bg-warn-soft px-4 py-3"
    >
      <div className="min-w-0 max-w-prose">
        <h2 className="font-semibold text-base">This machine waits for a decision</h2>
        <p className="text-base wrap-anywhere">{pendingReason(agent.pending_reason)}</p>
        {agent.key_changes > 0 && (
          <p className="text-base">
            It asked again while it waits, and was given another key: approve it only if you know
            why. Key <code className="whitespace-nowrap">{agent.key_fingerprint}</code>, number{" "}
            {agent.key_changes + 1}.
          </p>
        )}
      </div>
      <div className="flex flex-wrap gap-2">
        {inQuestion ? (
          <>
            <Button {...decide("new")}>It is a different machine</Button>
            <Button {...decide("same_machine")}>It is the known machine</Button>
          </>
        ) : (
          <Button variant="primary" {...decide("accept")}>
            Approve
          </Button>
        )}
        <Button variant="dangerOutline" disabledReason={denied} onClick={() => setRejecting(true)}>
          Reject
        </Button>
      </div>
      <Confirm
        open={rejecting}
        onOpenChange={setRejecting}
        title={`Reject ${agent.hostname}?`}
        action="Reject"
        busy={reject.isPending}
        error={reject.error && errorMessage(reject.error)}
        onConfirm={() => reject.mutate()}
      >
        <p>Its key is refused from now on. The machine can ask again by enrolling anew.</p>
      </Confirm>
    </section>
  );
}
