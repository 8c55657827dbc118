import { zodResolver } from "@hookform/resolvers/zod";
import {
  infiniteQueryOptions,
  useInfiniteQuery,
  useMutation,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";
import { Plus } from "lucide-react";
import { useState } from "react";
import { useForm } from "react-hook-form";
import { z } from "zod";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import { byPages, rowsOf } from "../../api/query";
import type { Invitation, SystemStatus } from "../../api/types";
import { applyProblem } from "../../lib/form";
import { formatBytes, formatCount, formatElapsed, plural } from "../../lib/format";
import { Badge } from "../../ui/badge";
import { Button } from "../../ui/button";
import { Dialog, DialogActions } from "../../ui/dialog";
import { Field, FormError } from "../../ui/field";
import { Input } from "../../ui/input";
import { PagedList } from "../../ui/paged-list";
import { Fact, Facts, Panel } from "../../ui/panel";
import { EmptyState, ErrorState, Skeleton } from "../../ui/states";
import { Table, Td, Th, Tr } from "../../ui/table";
import { DateTime } from "../../ui/time";
import { PolicyEditor } from "../policies/policy-editor";
import { useCan } from "../session/session";
import { NotFoundPage } from "../shell/fallbacks";
import { PageHeader } from "../shell/page-header";
import { InvitationLink } from "../users/invite-dialog";
import { arrivalWords, doorOf, totalsOf } from "./figures";
import { FollowMe } from "./follow-me";
import { Nodes } from "./nodes";
import { nodesQuery, statusQuery } from "./queries";
import { Retention, Storage } from "./storage";

/** The platform's policy belongs to no object, so its id is all zeros. */
const PLATFORM_ID = "00000000-0000-0000-0000-000000000000";

export function SystemPage() {
  const allowed = useCan("manage_platform");
  return allowed ? <Loaded /> : <NotFoundPage />;
}

function Loaded() {
  const query = useQuery(statusQuery);
  return (
    <>
      <PageHeader
        title="System"
        documentTitle="System"
        status={query.data && <Trouble arrivals={query.data.arrivals} />}
        meta={query.data && `GuruRMM ${query.data.version}`}
      />
      <div className="grid gap-5">
        {query.data && <Figures status={query.data} />}
        <Nodes />
        {query.isPending ? (
          <div role="status" aria-label="Loading">
            <Skeleton className="h-28 rounded-lg" />
          </div>
        ) : !query.data ? (
          <ErrorState error={query.error} onRetry={() => query.refetch()} />
        ) : (
          <Status status={query.data} />
        )}
        <Partners />
        <FollowMe />
        <PolicyEditor
          scope="platform"
          id={PLATFORM_ID}
          title="Policy of the platform"
          description="The lowest level: applies wherever no partner, client, site or machine says otherwise."
        />
      </div>
    </>
  );
}

/** What all servers do, at a glance. */
function Figures({ status }: { status: SystemStatus }) {
  const nodes = useQuery(nodesQuery);
  const totals = totalsOf(status, nodes.data);
  const figures = [
    { label: "Connected agents", value: formatCount(totals.connectedAgents) },
    { label: "Open dashboards", value: formatCount(totals.browsers) },
    { label: "Samples per minute", value: formatCount(totals.samplesPerMinute) },
    { label: "Samples waiting", value: formatCount(totals.queueDepth) },
    { label: "Stored after", value: formatElapsed(totals.lagMs) },
    { label: "Database", value: formatBytes(status.database_bytes) },
  ];
  return (
    <dl className="grid grid-cols-2 gap-px overflow-hidden rounded-lg border border-line bg-line sm:grid-cols-3 xl:grid-cols-6">
      {figures.map(({ label, value }) => (
        <div key={label} className="grid gap-1 bg-surface p-4">
          <dt className="font-medium text-ink-2 text-sm">{label}</dt>
          <dd className="font-medium text-xl tracking-[-0.01em]">{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Status({ status }: { status: SystemStatus }) {
  return (
    <div className="grid items-start gap-5 xl:grid-cols-2">
      <div className="grid min-w-0 gap-5">
        <Storage status={status} />
        <Arrivals arrivals={status.arrivals} />
      </div>
      <div className="grid min-w-0 gap-5">
        <Retention status={status} />
        <Pools pools={status.pools} />
      </div>
    </div>
  );
}

/** What of the agents' arrival cannot wait until somebody scrolls. */
function Trouble({ arrivals }: { arrivals: SystemStatus["arrivals"] }) {
  if (arrivals.is_full) return <Badge tone="crit">no room for agents</Badge>;
  return arrivals.is_holding_back && <Badge tone="warn">agents are held back</Badge>;
}

/** How agents come in at the server that answers, which matters when all of them come back at once. */
function Arrivals({ arrivals }: { arrivals: SystemStatus["arrivals"] }) {
  const door = doorOf(arrivals);
  return (
    <Panel title="Agents coming in" description="At the server that answers you">
      <div className="grid gap-3">
        <p aria-live="polite">
          <Badge tone={door.tone}>{door.says}</Badge>{" "}
          <span className="text-base">{arrivalWords(arrivals)}</span>
        </p>
        <Facts>
          <Fact label="On their way in">
            {formatCount(arrivals.under_way)} of {formatCount(arrivals.at_most)} at most
          </Fact>
          <Fact label="Room for">{plural(arrivals.room, "agent")} at once</Fact>
          <Fact label="Told to come again">
            {formatCount(arrivals.turned_away)} since the server started
          </Fact>
        </Facts>
      </div>
    </Panel>
  );
}

function Pools({ pools }: { pools: SystemStatus["pools"] }) {
  return (
    <Panel title="Database connections" description="Of the server that answers you" flush>
      <Table>
        <thead>
          <tr>
            <Th>Pool</Th>
            <Th className="text-right">In use</Th>
            <Th className="text-right">Idle</Th>
            <Th className="text-right">Open</Th>
          </tr>
        </thead>
        <tbody>
          {pools.map((pool) => (
            <Tr key={pool.name}>
              <Td className="font-medium">{pool.name}</Td>
              <Td className="text-right">{Math.max(0, pool.size - pool.idle)}</Td>
              <Td className="text-right">{pool.idle}</Td>
              <Td className="text-right">{pool.size}</Td>
            </Tr>
          ))}
        </tbody>
      </Table>
    </Panel>
  );
}

const partnersQuery = infiniteQueryOptions({
  queryKey: keys.partners,
  queryFn: ({ pageParam: cursor }) =>
    unwrap(api.GET("/api/v1/partners", { params: { query: { limit: 100, cursor } } })),
  ...byPages,
});

function Partners() {
  const query = useInfiniteQuery(partnersQuery);
  const partners = rowsOf(query.data);
  const [creating, setCreating] = useState(false);
  return (
    <Panel
      title="Partners"
      flush
      actions={
        <Button size="sm" onClick={() => setCreating(true)}>
          <Plus aria-hidden />
          Add partner
        </Button>
      }
    >
      <PagedList query={query} skeletonRows={2} empty={<EmptyState title="No partners yet" />}>
        <Table>
          <thead>
            <tr>
              <Th>Name</Th>
              <Th className="max-sm:hidden">Keeps metrics for</Th>
              <Th>Since</Th>
            </tr>
          </thead>
          <tbody>
            {partners.map((partner) => (
              <Tr key={partner.id}>
                <Td className="max-w-0 truncate font-medium">{partner.name}</Td>
                <Td className="text-ink-2 max-sm:hidden">
                  {formatCount(partner.retention_days)} days
                </Td>
                <Td className="w-52 text-ink-2">
                  <DateTime time={partner.created_at} />
                </Td>
              </Tr>
            ))}
          </tbody>
        </Table>
      </PagedList>
      <PartnerDialog open={creating} onClose={() => setCreating(false)} />
    </Panel>
  );
}

const schema = z.object({
  name: z.string().trim().min(1, "Enter a name.").max(120, "Use at most 120 characters."),
  owner_name: z.string().trim().min(1, "Enter the owner's name."),
  owner_email: z.email("Enter the owner's email address."),
});

function PartnerDialog({ open, onClose }: { open: boolean; onClose: () => void }) {
  const queryClient = useQueryClient();
  const [made, setMade] = useState<{ email: string; invitation: Invitation } | null>(null);
  const form = useForm({
    resolver: zodResolver(schema),
    defaultValues: { name: "", owner_name: "", owner_email: "" },
  });
  const create = useMutation({
    mutationFn: (body: z.infer<typeof schema>) => unwrap(api.POST("/api/v1/partners", { body })),
    onSuccess: async ({ invitation }, { owner_email }) => {
      form.reset();
      setMade({ email: owner_email, invitation });
      await queryClient.invalidateQueries({ queryKey: keys.partners });
    },
    onError: (error) => applyProblem(form, error),
  });
  const close = () => {
    setMade(null);
    onClose();
  };
  const { errors } = form.formState;
  return (
    <Dialog
      open={open}
      onOpenChange={(next) => {
        if (!next) close();
      }}
      title={made ? "Partner ready" : "Add a partner"}
      description={
        made
          ? "Send this link to the owner. It works once."
          : "A managed service provider with machines and users of its own."
      }
    >
      {made ? (
        <>
          <InvitationLink email={made.email} invitation={made.invitation} />
          <DialogActions>
            <Button variant="primary" onClick={close}>
              Done
            </Button>
          </DialogActions>
        </>
      ) : (
        <form
          noValidate
          className="grid gap-4"
          onSubmit={form.handleSubmit((values) => create.mutate(values))}
        >
          <FormError>{errors.root?.message}</FormError>
          <Field label="Name" error={errors.name?.message}>
            <Input autoComplete="off" {...form.register("name")} />
          </Field>
          <Field label="Owner's name" error={errors.owner_name?.message}>
            <Input autoComplete="off" {...form.register("owner_name")} />
          </Field>
          <Field label="Owner's email" error={errors.owner_email?.message}>
            <Input type="email" autoComplete="off" {...form.register("owner_email")} />
          </Field>
          <DialogActions>
            <Button onClick={close}>Cancel</Button>
            <Button type="submit" variant="primary" busy={create.isPending}>
              Add partner
            </Button>
          </DialogActions>
        </form>
      )}
    </Dialog>
  );
}
