import { useInfiniteQuery, useQuery, useSuspenseQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { useState } from "react";
import { rowsOf } from "../../api/query";
import type { Agent, AgentUpdate, UpdateState } from "../../api/types";
import { useWide } from "../../lib/media";
import { errorMessage } from "../../lib/problem";
import { Status } from "../../ui/badge";
import { Button } from "../../ui/button";
import { Confirm } from "../../ui/confirm";
import { PagedList } from "../../ui/paged-list";
import { Fact, Facts, Panel } from "../../ui/panel";
import { EmptyState, ErrorState, SkeletonRows } from "../../ui/states";
import { Table, Td, Th, Tr } from "../../ui/table";
import { DateTime, RelativeTime } from "../../ui/time";
import { agentQuery } from "../agents/queries";
import { useDenied } from "../session/session";
import { agentUpdatesQuery, updateStateQuery, useOrderUpdate } from "./queries";
import { UPDATE_STATUS, wantedBy } from "./words";

export function AgentUpdatesTab() {
  const { agentId } = useParams({ from: "/app/agents/$agentId/updates" });
  const { agent } = useSuspenseQuery(agentQuery(agentId)).data;
  const state = useQuery(updateStateQuery(agentId));
  return (
    <div className="grid gap-5">
      <Panel title="Version">
        {state.isPending ? (
          <SkeletonRows rows={3} />
        ) : state.isError && !state.data ? (
          <ErrorState error={state.error} onRetry={() => state.refetch()} />
        ) : (
          <Version agent={agent} state={state.data} />
        )}
      </Panel>
      <History agentId={agentId} />
    </div>
  );
}

function Version({ agent, state }: { agent: Agent; state: UpdateState }) {
  const order = useOrderUpdate(agent.id);
  const [goingBack, setGoingBack] = useState(false);
  const roleDenied = useDenied("run_commands");
  const underWay = state.open && `An update to ${state.open.to_version} is under way.`;
  const denied = roleDenied ?? state.reason ?? underWay;
  return (
    <div className="grid gap-5">
      <Facts>
        <Fact label="Runs" mono>
          {state.agent_version}
        </Fact>
        <Fact label="Available">
          {state.available_version
            ? `${state.available_version} (${state.channel})`
            : `nothing newer in ${state.channel}`}
        </Fact>
        <Fact label="Kept to go back to" mono>
          {state.previous_version ?? "none"}
        </Fact>
        <Fact label="Under way">
          <span aria-live="polite">
            {state.open ? <UpdateStatus update={state.open} withVersion /> : "nothing"}
          </span>
        </Fact>
      </Facts>
      {state.reason && <p className="text-base text-ink-2">{state.reason}</p>}
      <div className="flex flex-wrap gap-2">
        <Button
          variant="primary"
          busy={order.isPending && order.variables === "update"}
          disabledReason={
            denied ?? (state.available_version ? null : "Nothing newer is published for it.")
          }
          onClick={() => order.mutate("update")}
        >
          Update now
        </Button>
        <Button
          disabledReason={denied ?? (state.previous_version ? null : "It has kept no version.")}
          onClick={() => setGoingBack(true)}
        >
          Roll back
        </Button>
      </div>
      <Confirm
        open={goingBack}
        onOpenChange={setGoingBack}
        title={`Roll ${agent.hostname} back to ${state.previous_version}?`}
        action="Roll back"
        busy={order.isPending}
        error={order.isError ? errorMessage(order.error) : null}
        onConfirm={() => order.mutate("roll_back", { onSuccess: () => setGoingBack(false) })}
      >
        <p>
          The agent restarts as {state.previous_version} when no command runs there, and is not sent
          to {state.agent_version} again by itself.
        </p>
      </Confirm>
    </div>
  );
}

function UpdateStatus({ update, withVersion }: { update: AgentUpdate; withVersion?: boolean }) {
  const { label, tone } = UPDATE_STATUS[update.status];
  return (
    <Status tone={tone} pulse={update.ended_at === null && update.status !== "ordered"}>
      {withVersion ? `${update.to_version}: ${label.toLowerCase()}` : label}
    </Status>
  );
}

function History({ agentId }: { agentId: string }) {
  const query = useInfiniteQuery(agentUpdatesQuery(agentId));
  const wide = useWide();
  return (
    <Panel title="History" flush>
      <PagedList
        query={query}
        skeletonRows={3}
        empty={
          <EmptyState title="No update yet">
            What policy, a rollout or a person orders is listed here, with what came of it.
          </EmptyState>
        }
      >
        <Table>
          <thead>
            <tr>
              <Th>Version</Th>
              <Th>Result</Th>
              {wide && <Th>Wanted by</Th>}
              {wide && <Th>Ordered</Th>}
            </tr>
          </thead>
          <tbody>
            {rowsOf(query.data).map((update) => (
              <Tr key={update.id}>
                <Td className="whitespace-nowrap font-medium">
                  {update.from_version} → {update.to_version}
                  {!wide && (
                    <span className="block font-normal text-ink-2 text-sm">
                      <RelativeTime time={update.ordered_at} />
                    </span>
                  )}
                  {update.action === "roll_back" && (
                    <span className="block text-ink-3 text-sm">back</span>
                  )}
                </Td>
                <Td>
                  <UpdateStatus update={update} />
                  {!wide && <p className="mt-0.5 text-ink-2 text-sm">for {wantedBy(update)}</p>}
                  {update.error && (
                    <p className="mt-0.5 text-ink-2 text-sm wrap-anywhere">{update.error}</p>
                  )}
                  {update.ended_at === null && (
                    <p className="mt-0.5 text-ink-3 text-sm">
                      to begin before <DateTime time={update.valid_until} />
                    </p>
                  )}
                </Td>
                {wide && <Td className="wrap-anywhere">{wantedBy(update)}</Td>}
                {wide && (
                  <Td className="text-ink-2">
                    <RelativeTime time={update.ordered_at} />
                  </Td>
                )}
              </Tr>
            ))}
          </tbody>
        </Table>
      </PagedList>
    </Panel>
  );
}
