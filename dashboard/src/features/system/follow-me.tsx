import { zodResolver } from "@hookform/resolvers/zod";
import { queryOptions, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useForm } from "react-hook-form";
import { z } from "zod";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import type { FollowStatus } from "../../api/types";
import { applyProblem } from "../../lib/form";
import { formatCount } from "../../lib/format";
import { errorMessage } from "../../lib/problem";
import { Button } from "../../ui/button";
import { Confirm } from "../../ui/confirm";
import { Dialog, DialogActions } from "../../ui/dialog";
import { Field, FormError } from "../../ui/field";
import { Input } from "../../ui/input";
import { Panel } from "../../ui/panel";
import { EmptyState, ErrorState, SkeletonRows } from "../../ui/states";
import { Table, Td, Th, Tr } from "../../ui/table";
import { DateTime } from "../../ui/time";
import { toast } from "../../ui/toast";

const followQuery = queryOptions({
  queryKey: keys.followMe,
  queryFn: () => unwrap(api.GET("/api/v1/system/follow-me")),
  refetchInterval: 10_000,
});

/** Where agents are sent when the server is renamed or moves, and how many have gone there. */
export function FollowMe() {
  const query = useQuery(followQuery);
  const [setting, setSetting] = useState(false);
  const [withdrawing, setWithdrawing] = useState(false);
  const record = query.data?.record;
  return (
    <Panel
      title="The server's address for agents"
      flush
      actions={
        <>
          {record && (
            <Button size="sm" onClick={() => setWithdrawing(true)}>
              Withdraw
            </Button>
          )}
          <Button size="sm" onClick={() => setSetting(true)}>
            Send agents elsewhere
          </Button>
        </>
      }
    >
      {query.isPending ? (
        <SkeletonRows rows={2} />
      ) : !query.data ? (
        <ErrorState error={query.error} onRetry={() => query.refetch()} />
      ) : query.data.record ? (
        <Standing status={query.data} record={query.data.record} />
      ) : (
        <EmptyState title="Agents stay where they are">
          When this server gets another name or moves, its agents can be sent there.
        </EmptyState>
      )}
      <FollowDialog open={setting} onClose={() => setSetting(false)} />
      <WithdrawDialog open={withdrawing} onClose={() => setWithdrawing(false)} />
    </Panel>
  );
}

function Standing({
  status,
  record,
}: {
  status: FollowStatus;
  record: NonNullable<FollowStatus["record"]>;
}) {
  return (
    <>
      <p className="px-4 py-3 text-base text-ink-2 wrap-anywhere">
        Agents are sent to <span className="font-medium text-ink">{record.server_url}</span> until{" "}
        <DateTime time={record.expires_at} />
        {record.ca_fingerprint && (
          <>
            , where they trust <span className="font-mono text-sm">{record.ca_fingerprint}</span>{" "}
            alone
          </>
        )}
        . Set <DateTime time={record.set_at} /> by {record.set_by}.
      </p>
      <Table>
        <thead>
          <tr>
            <Th>Agents of all partners</Th>
            <Th className="text-right">Number</Th>
          </tr>
        </thead>
        <tbody>
          <Tr>
            <Td className="font-medium">Are there</Td>
            <Td className="text-right">{formatCount(status.confirmed)}</Td>
          </Tr>
          <Tr>
            <Td className="font-medium">Have not said anything yet</Td>
            <Td className="text-right">{formatCount(status.waiting)}</Td>
          </Tr>
          {status.not_following.map(({ has_tried, error_code, error, agents }) => (
            <Tr key={`${has_tried} ${error_code}`}>
              <Td className="wrap-anywhere">
                <span className="font-medium">{has_tried ? "Are back" : "Did not go"}</span>
                <span className="block text-ink-2 text-sm">{error ?? error_code}</span>
              </Td>
              <Td className="text-right">{formatCount(agents)}</Td>
            </Tr>
          ))}
        </tbody>
      </Table>
    </>
  );
}

const schema = z.object({
  server_url: z
    .string()
    .trim()
    .regex(/^https:\/\/[^/?#@\s]+\/?$/i, "Enter an address like https://rmm.example.com."),
  ca_fingerprint: z
    .string()
    .trim()
    .regex(/^(sha256:[0-9a-f:]{64,95})?$/i, "Enter sha256: and 64 hex digits, or nothing."),
});

function FollowDialog({ open, onClose }: { open: boolean; onClose: () => void }) {
  const queryClient = useQueryClient();
  const form = useForm({
    resolver: zodResolver(schema),
    defaultValues: { server_url: "", ca_fingerprint: "" },
  });
  const set = useMutation({
    mutationFn: ({ server_url, ca_fingerprint }: z.infer<typeof schema>) =>
      unwrap(
        api.PUT("/api/v1/system/follow-me", {
          body: { server_url, ca_fingerprint: ca_fingerprint || null },
        }),
      ),
    onSuccess: async () => {
      form.reset();
      onClose();
      await queryClient.invalidateQueries({ queryKey: keys.followMe });
    },
    onError: (error) => applyProblem(form, error),
  });
  const { errors } = form.formState;
  return (
    <Dialog
      open={open}
      onOpenChange={(next) => {
        if (!next) onClose();
      }}
      title="Send agents elsewhere"
      description="Every agent of every partner tries the address for five minutes with the key it has. It stays where it is welcomed, and is back where it was otherwise."
    >
      <form
        noValidate
        className="grid gap-4"
        onSubmit={form.handleSubmit((values) => set.mutate(values))}
      >
        <FormError>{errors.root?.message}</FormError>
        <Field label="Address" error={errors.server_url?.message}>
          <Input
            autoComplete="off"
            spellCheck={false}
            placeholder="https://rmm.example.com"
            {...form.register("server_url")}
          />
        </Field>
        <Field
          label="Fingerprint of its authority"
          hint="For a server with an authority of its own. Empty for a public certificate."
          error={errors.ca_fingerprint?.message}
        >
          <Input autoComplete="off" spellCheck={false} {...form.register("ca_fingerprint")} />
        </Field>
        <DialogActions>
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" variant="primary" busy={set.isPending}>
            Send agents there
          </Button>
        </DialogActions>
      </form>
    </Dialog>
  );
}

function WithdrawDialog({ open, onClose }: { open: boolean; onClose: () => void }) {
  const queryClient = useQueryClient();
  const withdraw = useMutation({
    mutationFn: () => unwrap(api.DELETE("/api/v1/system/follow-me")),
    onSuccess: async () => {
      toast.done("Agents are not sent elsewhere any more.");
      onClose();
      await queryClient.invalidateQueries({ queryKey: keys.followMe });
    },
  });
  return (
    <Confirm
      open={open}
      onOpenChange={(next) => {
        if (!next) onClose();
        withdraw.reset();
      }}
      title="Send no more agents there?"
      action="Withdraw"
      busy={withdraw.isPending}
      error={withdraw.error && errorMessage(withdraw.error)}
      onConfirm={() => withdraw.mutate()}
    >
      <p>Agents that went there stay.</p>
    </Confirm>
  );
}
