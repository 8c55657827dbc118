import { useInfiniteQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { rowsOf } from "../../api/query";
import type { WaitingMachine } from "../../api/types";
import { plural } from "../../lib/format";
import { errorMessage } from "../../lib/problem";
import { Button } from "../../ui/button";
import { Confirm } from "../../ui/confirm";
import { FormError } from "../../ui/field";
import { PagedList } from "../../ui/paged-list";
import { Panel } from "../../ui/panel";
import { EmptyState } from "../../ui/states";
import { RelativeTime } from "../../ui/time";
import { Checkbox } from "../../ui/toggle";
import { isIdentityInQuestion, pendingReason } from "../agents/pending-reasons";
import { useDenied } from "../session/session";
import { PageHeader } from "../shell/page-header";
import { approvable, summary, together, type Verdict } from "./decisions";
import { approvalsQuery, useDecide } from "./queries";

const SOURCES: Record<string, string> = {
  smbios_uuid: "known by its firmware",
  board_and_disk: "known by board and disk",
  os_id: "known by its system only",
};

export function ApprovalsPage() {
  const query = useInfiniteQuery(approvalsQuery);
  const waiting = rowsOf(query.data);
  const [chosenIds, setChosenIds] = useState<ReadonlySet<string>>(new Set());
  const [rejecting, setRejecting] = useState<WaitingMachine[] | null>(null);
  const [told, setTold] = useState<ReturnType<typeof summary> | null>(null);
  const decide = useDecide();
  const denied = useDenied("manage_agents");
  const chosen = waiting.filter(({ agent }) => chosenIds.has(agent.id));
  const acceptable = approvable(chosen);
  const apart = chosen.length - acceptable.length;
  const carryOut = (machines: WaitingMachine[], verdict: Verdict) => {
    setTold(null);
    decide.mutate(together(machines, verdict), {
      onSuccess: (outcomes) => {
        setTold(summary(machines, outcomes, verdict));
        setChosenIds(new Set());
        setRejecting(null);
      },
    });
  };
  const choose = (id: string, isChosen: boolean) => {
    const next = new Set(chosenIds);
    if (isChosen) next.add(id);
    else next.delete(id);
    setChosenIds(next);
  };
  return (
    <>
      <PageHeader
        title="Approvals"
        documentTitle="Approvals"
        meta="Machines that asked to be let in and wait for someone's decision."
      />
      <div aria-live="polite" className="grid gap-3 empty:hidden [&:not(:empty)]:mb-4">
        {told?.done && <p className="text-base">{told.done}</p>}
        {told && told.problems.length > 0 && (
          <ul className="grid gap-1 rounded-md border border-warn/50 bg-warn-soft px-3 py-2 text-base">
            {told.problems.map(({ id, text }) => (
              <li key={id} className="wrap-anywhere">
                {text}
              </li>
            ))}
          </ul>
        )}
        {decide.error && rejecting === null && <FormError>{errorMessage(decide.error)}</FormError>}
      </div>
      <Panel
        flush
        title={
          waiting.length > 0 && (
            <Checkbox
              label={chosen.length === 0 ? "Choose all" : `${chosen.length} chosen`}
              checked={chosen.length === waiting.length}
              onCheckedChange={(all) =>
                setChosenIds(new Set(all ? waiting.map(({ agent }) => agent.id) : []))
              }
            />
          )
        }
        actions={
          waiting.length > 0 && (
            <>
              <Button
                size="sm"
                variant="primary"
                disabledReason={
                  denied ??
                  (chosen.length === 0
                    ? "Choose machines first."
                    : acceptable.length === 0
                      ? "Say of each of these which machine it is."
                      : null)
                }
                busy={decide.isPending}
                onClick={() => carryOut(acceptable, "accept")}
              >
                Approve {acceptable.length > 0 && acceptable.length}
              </Button>
              <Button
                size="sm"
                variant="dangerOutline"
                disabledReason={denied ?? (chosen.length === 0 ? "Choose machines first." : null)}
                onClick={() => setRejecting(chosen)}
              >
                Reject {chosen.length > 0 && chosen.length}
              </Button>
            </>
          )
        }
      >
        {apart > 0 && (
          <p className="border-b px-4 py-2 text-ink-2 text-sm">
            {plural(apart, "of the chosen", "of the chosen")} must be looked at one by one: someone
            has to say which machine it is.
          </p>
        )}
        <PagedList
          query={query}
          empty={
            <EmptyState title="Nobody waits">
              A machine waits here when its site asks for approval, or when it is in question which
              machine it is.
            </EmptyState>
          }
        >
          <ul className="divide-y divide-line">
            {waiting.map((machine) => (
              <Waiting
                key={machine.agent.id}
                machine={machine}
                isChosen={chosenIds.has(machine.agent.id)}
                onChoose={(isChosen) => choose(machine.agent.id, isChosen)}
                denied={denied}
                busy={decide.isPending}
                onDecide={(verdict) =>
                  verdict === "reject" ? setRejecting([machine]) : carryOut([machine], verdict)
                }
              />
            ))}
          </ul>
        </PagedList>
      </Panel>
      <Confirm
        open={rejecting !== null}
        onOpenChange={(open) => {
          if (!open) setRejecting(null);
          decide.reset();
        }}
        title={
          rejecting?.length === 1
            ? `Reject ${rejecting[0]?.agent.hostname}?`
            : `Reject ${rejecting?.length ?? 0} machines?`
        }
        action="Reject"
        busy={decide.isPending}
        error={decide.error && errorMessage(decide.error)}
        onConfirm={() => rejecting && carryOut(rejecting, "reject")}
      >
        <p>
          The keys they were given are refused from now on. A machine that enrolls again waits
          again.
        </p>
      </Confirm>
    </>
  );
}

function Waiting({
  machine,
  isChosen,
  onChoose,
  denied,
  busy,
  onDecide,
}: {
  machine: WaitingMachine;
  isChosen: boolean;
  onChoose: (isChosen: boolean) => void;
  denied: string | null;
  busy: boolean;
  onDecide: (verdict: Verdict) => void;
}) {
  const { agent, collides_with: known } = machine;
  const button = (verdict: Verdict, label: string) => (
    <Button
      size="sm"
      aria-label={`${label}: ${agent.hostname}`}
      variant={verdict === "reject" ? "dangerOutline" : "outline"}
      disabledReason={denied}
      busy={busy}
      onClick={() => onDecide(verdict)}
    >
      {label}
    </Button>
  );
  return (
    <li className="grid gap-x-6 gap-y-2 px-4 py-3 lg:grid-cols-[minmax(0,1fr)_minmax(0,1fr)_22rem]">
      <div className="min-w-0">
        <Checkbox
          label={<span className="font-medium wrap-anywhere">{agent.hostname}</span>}
          hint={`${agent.os_version}, ${SOURCES[agent.machine_uid_source] ?? agent.machine_uid_source}`}
          checked={isChosen}
          onCheckedChange={onChoose}
        />
        <p className="mt-1 pl-6.5 text-ink-2 text-sm wrap-anywhere">
          {agent.client_name} / {agent.site_name}
          {machine.asked_from && `, from ${machine.asked_from}`},{" "}
          <RelativeTime time={machine.asked_at ?? agent.enrolled_at} />
          {machine.key_label && (
            <>
              , with key <span className="font-mono">{machine.key_label}</span>
              {machine.key_note && ` (${machine.key_note})`}
            </>
          )}
        </p>
      </div>
      <div className="min-w-0 text-base">
        <p className="wrap-anywhere">{pendingReason(agent.pending_reason)}</p>
        {known && (
          <p className="text-ink-2 text-sm wrap-anywhere">
            The known machine is{" "}
            <Link
              to="/agents/$agentId"
              params={{ agentId: known.id }}
              className="rounded-sm underline hover:text-ink"
            >
              {known.hostname}
            </Link>
            {known.is_retired
              ? ", which was retired"
              : known.is_connected
                ? ", online now"
                : known.last_seen && (
                    <>
                      , last seen <RelativeTime time={known.last_seen} />
                    </>
                  )}
            .
          </p>
        )}
        <p className="text-ink-3 text-sm wrap-anywhere">
          {[
            machine.board_serial && `board ${machine.board_serial}`,
            machine.disk_serial && `disk ${machine.disk_serial}`,
            ...machine.mac_addresses,
          ]
            .filter(Boolean)
            .join(", ") || "no serial numbers"}
        </p>
        {agent.key_changes > 0 && (
          <p className="text-sm text-warn">
            It asked again, and was given another key: number {agent.key_changes + 1},{" "}
            <code className="whitespace-nowrap">{agent.key_fingerprint}</code>.
          </p>
        )}
      </div>
      <div className="flex flex-wrap items-start gap-2 lg:justify-end">
        {isIdentityInQuestion(agent.pending_reason) ? (
          <>
            {button("new", "A different machine")}
            {button("same_machine", "The known machine")}
          </>
        ) : (
          button("accept", "Approve")
        )}
        {button("reject", "Reject")}
      </div>
    </li>
  );
}
