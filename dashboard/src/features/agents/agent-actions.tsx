import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import type { Agent } from "../../api/types";
import { errorMessage } from "../../lib/problem";
import { Button } from "../../ui/button";
import { Confirm } from "../../ui/confirm";
import { Dialog, DialogActions } from "../../ui/dialog";
import { Field, FormError } from "../../ui/field";
import { Select } from "../../ui/input";
import { toast } from "../../ui/toast";
import { treeQuery } from "../tenancy/queries";

export function MoveAgent({
  agent,
  open,
  onClose,
}: {
  agent: Agent;
  open: boolean;
  onClose: () => void;
}) {
  const queryClient = useQueryClient();
  const tree = useQuery(treeQuery);
  const [siteId, setSiteId] = useState("");
  const move = useMutation({
    mutationFn: () =>
      unwrap(
        api.POST("/api/agents/{id}/move", {
          params: { path: { id: agent.id } },
          body: { site_id: siteId },
        }),
      ),
    onSuccess: async (moved) => {
      toast.done(`${moved.hostname} now belongs to ${moved.site_name}.`);
      onClose();
      await Promise.all([
        queryClient.invalidateQueries({ queryKey: keys.agents }),
        queryClient.invalidateQueries({ queryKey: keys.agent(agent.id) }),
        queryClient.invalidateQueries({ queryKey: keys.tree }),
        queryClient.invalidateQueries({ queryKey: keys.agentPolicy(agent.id) }),
      ]);
    },
  });
  return (
    <Dialog
      open={open}
      onOpenChange={(next) => {
        if (!next) onClose();
      }}
      title={`Move ${agent.hostname}`}
      description="The machine keeps its history and its key. The policies of the new site apply at once."
    >
      <form
        className="grid gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          if (siteId) move.mutate();
        }}
      >
        <Field label="To site">
          <Select value={siteId} onChange={(event) => setSiteId(event.target.value)}>
            <option value="" disabled>
              Choose a site
            </option>
            {tree.data?.clients.map((client) => (
              <optgroup key={client.id} label={client.name}>
                {client.sites.map((site) => (
                  <option key={site.id} value={site.id} disabled={site.id === agent.site_id}>
                    {site.name}
                    {site.id === agent.site_id ? " (now)" : ""}
                  </option>
                ))}
              </optgroup>
            ))}
          </Select>
        </Field>
        <FormError>{move.error && errorMessage(move.error)}</FormError>
        <DialogActions>
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" variant="primary" busy={move.isPending} disabled={!siteId}>
            Move
          </Button>
        </DialogActions>
      </form>
    </Dialog>
  );
}

export function DeleteAgent({
  agent,
  open,
  onClose,
}: {
  agent: Agent;
  open: boolean;
  onClose: () => void;
}) {
  const queryClient = useQueryClient();
  const navigate = useNavigate();
  const remove = useMutation({
    mutationFn: () =>
      unwrap(api.DELETE("/api/agents/{id}", { params: { path: { id: agent.id } } })),
    onSuccess: async () => {
      toast.done(`${agent.hostname} was deleted.`);
      await navigate({ to: "/sites/$siteId", params: { siteId: agent.site_id } });
      queryClient.removeQueries({ queryKey: keys.agent(agent.id) });
      await queryClient.invalidateQueries({ queryKey: keys.agents });
      await queryClient.invalidateQueries({ queryKey: keys.tree });
    },
  });
  return (
    <Confirm
      open={open}
      onOpenChange={(next) => {
        if (!next) onClose();
      }}
      title={`Delete ${agent.hostname}?`}
      action="Delete agent"
      typed={agent.hostname}
      busy={remove.isPending}
      error={remove.error && errorMessage(remove.error)}
      onConfirm={() => remove.mutate()}
    >
      <p>
        Its key stops working at once, and its metrics and command history are removed. The program
        on the machine is not uninstalled; to come back, the machine must enroll again.
      </p>
    </Confirm>
  );
}
