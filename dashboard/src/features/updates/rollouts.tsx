import { useInfiniteQuery } from "@tanstack/react-query";
import { useState } from "react";
import { rowsOf } from "../../api/query";
import type { Rollout } from "../../api/types";
import { formatCount } from "../../lib/format";
import { useWide } from "../../lib/media";
import { errorMessage } from "../../lib/problem";
import { Status } from "../../ui/badge";
import { Button } from "../../ui/button";
import { Confirm } from "../../ui/confirm";
import { PagedList } from "../../ui/paged-list";
import { Panel } from "../../ui/panel";
import { EmptyState } from "../../ui/states";
import { Table, Td, Th, Tr } from "../../ui/table";
import { DateTime, RelativeTime } from "../../ui/time";
import { useDenied } from "../session/session";
import { rolloutsQuery, useStepRollout } from "./queries";
import { RINGS, ROLLOUT_STATE, type RolloutStep, rolloutSteps } from "./words";

const STEPS: Record<RolloutStep, { label: string; title: string; text: string }> = {
  promote: {
    label: "Next ring now",
    title: "Begin with the next ring?",
    text: "It is not waited for any longer whether this ring stays well.",
  },
  halt: {
    label: "Halt",
    title: "Halt the rollout?",
    text: "No further machine is ordered this version. Those that have it keep it.",
  },
  resume: {
    label: "Resume",
    title: "Resume the rollout?",
    text: "It goes on in its ring, whose time to be watched begins anew.",
  },
  roll_back: {
    label: "Take back",
    title: "Take this version back?",
    text: "Every machine that took it in this rollout goes back to the version it ran before.",
  },
};

export function Rollouts() {
  const query = useInfiniteQuery(rolloutsQuery);
  return (
    <Panel
      title="Rollouts"
      description="A version reaches the machines in rings. A bad one stops by itself, and is taken back."
      flush
    >
      <PagedList
        query={query}
        skeletonRows={4}
        empty={
          <EmptyState title="No rollout yet">
            One starts by itself when a version is published that a machine here would take.
          </EmptyState>
        }
      >
        <ul>
          {rowsOf(query.data).map((rollout) => (
            <li
              key={rollout.id}
              className="grid grid-cols-[minmax(0,1fr)] gap-3 border-line border-b p-4 last:border-b-0"
            >
              <OneRollout rollout={rollout} />
            </li>
          ))}
        </ul>
      </PagedList>
    </Panel>
  );
}

type Ring = Rollout["rings"][number];

/** The figures of a ring; on a phone only the first three. */
const COLUMNS: readonly { label: string; of: (ring: Ring) => number }[] = [
  { label: "Machines", of: ({ machines }) => machines },
  { label: "Stayed", of: ({ confirmed }) => confirmed },
  { label: "Went back", of: ({ rolled_back }) => rolled_back },
  { label: "Under way", of: ({ open }) => open },
  { label: "Lost", of: ({ lost }) => lost },
  { label: "Failed", of: ({ failed }) => failed },
  { label: "Crashed", of: ({ crashed }) => crashed },
];

function OneRollout({ rollout }: { rollout: Rollout }) {
  const { label, tone } = ROLLOUT_STATE[rollout.state];
  const columns = COLUMNS.slice(0, useWide() ? undefined : 3);
  return (
    <>
      <div className="flex flex-wrap items-center justify-between gap-x-4 gap-y-2">
        <h3 className="flex flex-wrap items-center gap-3 font-semibold text-base">
          {rollout.version}
          <Status tone={tone} pulse={rollout.state === "running"} className="font-normal">
            {label}
          </Status>
        </h3>
        <Actions rollout={rollout} />
      </div>
      <p className="text-ink-2 text-sm wrap-anywhere">
        {rollout.reason && <>{rollout.reason}. </>}
        Started <RelativeTime time={rollout.started_at} />
        {rollout.next_ring_at && (
          <>
            ; the next ring not before <DateTime time={rollout.next_ring_at} />
          </>
        )}
      </p>
      <Table>
        <thead>
          <tr>
            <Th>Ring</Th>
            {columns.map(({ label }) => (
              <Th key={label} className="text-right">
                {label}
              </Th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rollout.rings.map((ring) => (
            <Tr key={ring.ring}>
              <Td className={ring.ring === rollout.ring ? "font-medium" : "text-ink-2"}>
                {RINGS[ring.ring] ?? ring.ring}
                {ring.ring > rollout.ring && <span className="text-ink-3"> (not yet)</span>}
              </Td>
              {columns.map(({ label: column, of }) => (
                <Td key={column} className="text-right">
                  {formatCount(of(ring))}
                </Td>
              ))}
            </Tr>
          ))}
        </tbody>
      </Table>
    </>
  );
}

function Actions({ rollout }: { rollout: Rollout }) {
  const step = useStepRollout();
  const denied = useDenied("manage_rollouts");
  const [asked, setAsked] = useState<RolloutStep | null>(null);
  const words = asked && STEPS[asked];
  return (
    <span className="flex flex-wrap gap-2">
      {rolloutSteps(rollout).map((action) => (
        <Button
          key={action}
          size="sm"
          disabledReason={denied}
          aria-label={`${STEPS[action].label}: ${rollout.version}`}
          onClick={() => setAsked(action)}
        >
          {STEPS[action].label}
        </Button>
      ))}
      <Confirm
        open={asked !== null}
        onOpenChange={(open) => {
          if (!open) setAsked(null);
        }}
        title={words?.title ?? ""}
        action={words?.label ?? ""}
        danger={asked === "roll_back"}
        busy={step.isPending}
        error={step.isError ? errorMessage(step.error) : null}
        onConfirm={() =>
          asked &&
          step.mutate({ id: rollout.id, action: asked }, { onSuccess: () => setAsked(null) })
        }
      >
        <p>{words?.text}</p>
      </Confirm>
    </span>
  );
}
