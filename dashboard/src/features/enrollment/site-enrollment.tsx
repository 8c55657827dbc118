import {
  type InfiniteData,
  type UseInfiniteQueryResult,
  useInfiniteQuery,
  useQuery,
} from "@tanstack/react-query";
import { useState } from "react";
import { rowsOf } from "../../api/query";
import type { EnrollmentKey, KeyOnce, Page, TreeSite } from "../../api/types";
import { useWide } from "../../lib/media";
import { errorMessage } from "../../lib/problem";
import { Badge, type Tone } from "../../ui/badge";
import { Button } from "../../ui/button";
import { Confirm } from "../../ui/confirm";
import { PagedList } from "../../ui/paged-list";
import { Panel } from "../../ui/panel";
import { EmptyState } from "../../ui/states";
import { Table, Td, Th, Tr } from "../../ui/table";
import { DateTime, RelativeTime } from "../../ui/time";
import { useDenied } from "../session/session";
import { serverQuery } from "../tenancy/queries";
import { KeyReveal } from "./key-reveal";
import { enrollmentKeysQuery, installReportsQuery, useRevokeKey, useRotateKey } from "./queries";
import { TokenDialog } from "./token-dialog";
import { WaitingForMachine } from "./waiting-for-machine";

export function SiteEnrollment({ site }: { site: TreeSite }) {
  const [revealed, setRevealed] = useState<KeyOnce | null>(null);
  const [dialog, setDialog] = useState<"rotate" | "token" | null>(null);
  const keys = useInfiniteQuery(enrollmentKeysQuery(site.id));
  const server = useQuery(serverQuery);
  const rotate = useRotateKey(site.id);
  const denied = useDenied("manage_keys");
  const standing = rowsOf(keys.data).find(
    ({ kind, status }) => kind === "standing" && status === "active",
  );
  return (
    <>
      <Panel title={`Add a machine to ${site.name}`}>
        <div className="grid gap-4">
          {revealed ? (
            <>
              <p className="text-base text-ink-2">
                Key <strong className="font-mono font-medium text-ink">{revealed.key.label}</strong>{" "}
                is shown this once. Copy what you need before you leave the page.
              </p>
              <KeyReveal keyOnce={revealed} siteCode={site.code} />
            </>
          ) : (
            <div className="grid gap-3">
              <p className="max-w-prose text-base text-ink-2">
                The install command carries a key, and keys are shown only once, when they are made.
                Make a deployment token for these machines, or rotate the site's standing key.
              </p>
              <div className="flex flex-wrap gap-2">
                <Button
                  variant="primary"
                  disabledReason={denied}
                  onClick={() => setDialog("token")}
                >
                  Make an install command
                </Button>
                <Button disabledReason={denied} onClick={() => setDialog("rotate")}>
                  Rotate the standing key
                </Button>
              </div>
              {server.data && !server.data.agent_available && (
                <p className="text-base text-warn">
                  This server has no agent program to hand out yet, so the install command will not
                  find one. Machines that have the program can enroll by hand.
                </p>
              )}
            </div>
          )}
          <WaitingForMachine siteId={site.id} />
        </div>
      </Panel>
      <Keys siteId={site.id} query={keys} onRotate={() => setDialog("rotate")} denied={denied} />
      <InstallReports siteId={site.id} />
      <Confirm
        open={dialog === "rotate"}
        onOpenChange={(open) => {
          if (!open) setDialog(null);
          rotate.reset();
        }}
        title="Rotate the standing key?"
        action="Rotate key"
        busy={rotate.isPending}
        error={rotate.error && errorMessage(rotate.error)}
        onConfirm={() =>
          rotate.mutate(undefined, {
            onSuccess: (once) => {
              setRevealed(once);
              setDialog(null);
            },
          })
        }
      >
        <p>
          {standing ? (
            <>
              Installers and scripts that carry{" "}
              <strong className="font-mono font-medium">{standing.label}</strong> can enroll no new
              machines from then on.{" "}
            </>
          ) : null}
          Machines that have enrolled are left alone. The new key is shown once.
        </p>
      </Confirm>
      <TokenDialog
        siteId={site.id}
        open={dialog === "token"}
        onClose={() => setDialog(null)}
        onCreated={(once) => {
          setRevealed(once);
          setDialog(null);
        }}
      />
    </>
  );
}

const KEY_STATUS: Record<EnrollmentKey["status"], { label: string; tone: Tone }> = {
  active: { label: "Active", tone: "ok" },
  revoked: { label: "Revoked", tone: "idle" },
  expired: { label: "Expired", tone: "idle" },
  used_up: { label: "Used up", tone: "idle" },
};

function Keys({
  siteId,
  query,
  onRotate,
  denied,
}: {
  siteId: string;
  query: UseInfiniteQueryResult<InfiniteData<Page<EnrollmentKey>>>;
  onRotate: () => void;
  denied: string | null;
}) {
  const wide = useWide();
  const enrollmentKeys = rowsOf(query.data);
  const [revoking, setRevoking] = useState<EnrollmentKey | null>(null);
  const revoke = useRevokeKey(siteId);
  const actions = (key: EnrollmentKey) =>
    key.status === "active" && (
      <span className="inline-flex gap-2">
        {key.kind === "standing" && (
          <Button size="sm" disabledReason={denied} onClick={onRotate}>
            Rotate
          </Button>
        )}
        <Button
          size="sm"
          variant="dangerOutline"
          disabledReason={denied}
          onClick={() => setRevoking(key)}
        >
          Revoke
        </Button>
      </span>
    );
  return (
    <Panel title="Keys" flush>
      <PagedList query={query} skeletonRows={3} empty={<EmptyState title="No keys yet" />}>
        <Table>
          <thead>
            <tr>
              <Th>Key</Th>
              <Th>Status</Th>
              {wide && <Th className="text-right">Used</Th>}
              {wide && <Th>Expires</Th>}
              {wide && <Th>Made</Th>}
              {wide && (
                <Th>
                  <span className="sr-only">Actions</span>
                </Th>
              )}
            </tr>
          </thead>
          <tbody>
            {enrollmentKeys.map((key) => (
              <Tr key={key.id}>
                <Td className="min-w-32">
                  <span className="whitespace-nowrap font-medium font-mono text-sm">
                    {key.label}
                  </span>
                  <span className="block text-ink-2 text-sm wrap-anywhere">
                    {key.kind === "standing" ? "standing key" : "deployment token"}
                    {key.note && `, ${key.note}`}
                  </span>
                  {!wide && key.status === "active" && (
                    <span className="mt-2 mb-1 block">{actions(key)}</span>
                  )}
                </Td>
                <Td>
                  <Badge tone={KEY_STATUS[key.status]?.tone}>
                    {KEY_STATUS[key.status]?.label ?? key.status}
                  </Badge>
                </Td>
                {wide && (
                  <Td className="text-right">
                    {key.use_count}
                    {key.max_uses !== null && ` of ${key.max_uses}`}
                  </Td>
                )}
                {wide && (
                  <Td>
                    <DateTime time={key.expires_at} none="never" />
                  </Td>
                )}
                {wide && (
                  <Td className="text-ink-2">
                    <RelativeTime time={key.created_at} />
                    {key.created_by_name && ` by ${key.created_by_name}`}
                  </Td>
                )}
                {wide && <Td className="text-right">{actions(key)}</Td>}
              </Tr>
            ))}
          </tbody>
        </Table>
      </PagedList>
      <Confirm
        open={revoking !== null}
        onOpenChange={(open) => {
          if (!open) setRevoking(null);
          revoke.reset();
        }}
        title={`Revoke ${revoking?.label ?? "key"}?`}
        action="Revoke key"
        busy={revoke.isPending}
        error={revoke.error && errorMessage(revoke.error)}
        onConfirm={() =>
          revoking && revoke.mutate(revoking.id, { onSuccess: () => setRevoking(null) })
        }
      >
        <p>
          No machine can enroll with it from then on. Machines that have enrolled are left alone.
        </p>
      </Confirm>
    </Panel>
  );
}

function InstallReports({ siteId }: { siteId: string }) {
  const query = useInfiniteQuery(installReportsQuery(siteId));
  const reports = rowsOf(query.data);
  return (
    <Panel title="Install reports" description="What installers of this site could not do." flush>
      <PagedList
        query={query}
        skeletonRows={2}
        empty={<EmptyState title="No failed installations" className="py-8" />}
      >
        <ul className="divide-y divide-line">
          {reports.map((report) => (
            <li key={report.id} className="grid gap-0.5 px-4 py-2.5">
              <p className="flex flex-wrap items-baseline gap-x-3 text-base">
                <span className="font-medium wrap-anywhere">
                  {report.hostname ?? "unknown host"}
                </span>
                <span className="text-ink-2 wrap-anywhere">at {report.stage}</span>
                <span className="ml-auto text-ink-3 text-sm">
                  <RelativeTime time={report.reported_at} />
                </span>
              </p>
              <p className="whitespace-pre-wrap font-mono text-ink-2 text-sm wrap-anywhere">
                {report.error}
              </p>
            </li>
          ))}
        </ul>
      </PagedList>
    </Panel>
  );
}
