import {
  type InfiniteData,
  type UseInfiniteQueryResult,
  useInfiniteQuery,
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
import { AddMachine } from "./add-machine";
import { enrollmentKeysQuery, installReportsQuery, useRevokeKey, useRotateKey } from "./queries";

export function SiteEnrollment({ site }: { site: TreeSite }) {
  const [revealed, setRevealed] = useState<KeyOnce | null>(null);
  const [dialog, setDialog] = useState<"rotate" | null>(null);
  const keys = useInfiniteQuery(enrollmentKeysQuery(site.id));
  const rotate = useRotateKey(site.id);
  const denied = useDenied("manage_keys");
  const standing = rowsOf(keys.data).find(
    ({ kind, status }) => kind === "standing" && status === "active",
  );
  return (
    <>
      <AddMachine site={site} revealed={revealed} onRevealed={setRevealed} />
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
              {wide && <Th>Last used</Th>}
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
                  {!wide && (
                    <span className="block text-ink-2 text-sm">
                      used {key.use_count}
                      {key.max_uses !== null && ` of ${key.max_uses}`}, expires{" "}
                      <DateTime time={key.expires_at} none="never" />
                    </span>
                  )}
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
                  <Td className="text-ink-2">
                    <RelativeTime time={key.last_used_at} />
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
