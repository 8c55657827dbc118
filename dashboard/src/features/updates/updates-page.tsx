import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { Published } from "../../api/types";
import { formatBytes, formatCount } from "../../lib/format";
import { errorMessage } from "../../lib/problem";
import { Badge } from "../../ui/badge";
import { Button } from "../../ui/button";
import { Confirm } from "../../ui/confirm";
import { Panel } from "../../ui/panel";
import { EmptyState, ErrorState, SkeletonRows } from "../../ui/states";
import { Table, Td, Th, Tr } from "../../ui/table";
import { DateTime, RelativeTime } from "../../ui/time";
import { useCan } from "../session/session";
import { PageHeader } from "../shell/page-header";
import { protocolsQuery, releasesQuery, useRetireProtocol, versionsQuery } from "./queries";
import { Rollouts } from "./rollouts";

const MS_PER_DAY = 86_400_000;
/** As the server's alert. */
const EXPIRES_SOON_DAYS = 30;

export function UpdatesPage() {
  const canReadRollouts = useCan("read_rollouts");
  const canRetire = useCan("manage_platform");
  return (
    <>
      <PageHeader
        title="Updates"
        documentTitle="Updates"
        meta="Which versions of the agent are published, and how they reach the machines."
      />
      <div className="grid gap-5">
        {canReadRollouts && <Rollouts />}
        <Releases />
        <Versions />
        {canRetire && <Protocols />}
      </div>
    </>
  );
}

function Releases() {
  const query = useQuery(releasesQuery);
  return (
    <Panel
      title="Releases"
      description="What the publisher has signed. Agents verify it themselves, whatever this server says."
      flush
    >
      {query.isPending ? (
        <SkeletonRows rows={4} />
      ) : query.isError && !query.data ? (
        <ErrorState error={query.error} onRetry={() => query.refetch()} />
      ) : (
        <Signed published={query.data} />
      )}
    </Panel>
  );
}

function Signed({ published }: { published: Published }) {
  return (
    <>
      {published.refusal && (
        <p className="border-line border-b bg-crit-soft px-4 py-3 text-base text-crit" role="alert">
          What lies in the folder now is refused, since <DateTime time={published.refusal.since} />:{" "}
          {published.refusal.reason}
        </p>
      )}
      {published.roles.length > 0 && (
        <dl className="flex flex-wrap gap-x-6 gap-y-1 border-line border-b px-4 py-3 text-base">
          {published.roles.map(({ role, expires_at }) => (
            <div key={role} className="flex items-baseline gap-2">
              <dt className="text-ink-2">{role}</dt>
              <dd className="flex items-center gap-2">
                until <DateTime time={expires_at} />
                <Expiry at={expires_at} />
              </dd>
            </div>
          ))}
        </dl>
      )}
      {published.releases.length === 0 ? (
        <EmptyState title="Nothing is published">
          Machines stay at the version they run. A folder of releases is given to the server with
          --dist.
        </EmptyState>
      ) : (
        <Table>
          <thead>
            <tr>
              <Th>Version</Th>
              <Th>System</Th>
              <Th>Channels</Th>
              <Th>Released</Th>
              <Th className="text-right">Size</Th>
            </tr>
          </thead>
          <tbody>
            {published.releases.map((release) => (
              <Tr key={`${release.version} ${release.os} ${release.arch}`}>
                <Td className="font-medium">{release.version}</Td>
                <Td>
                  {release.os} {release.arch}
                </Td>
                <Td>
                  <span className="flex flex-wrap gap-1">
                    {release.channels.map((channel) => (
                      <Badge key={channel} tone={channel === "stable" ? "ok" : "idle"}>
                        {channel}
                      </Badge>
                    ))}
                  </span>
                </Td>
                <Td className="text-ink-2">
                  <RelativeTime time={release.released_at} />
                </Td>
                <Td className="text-right">{formatBytes(release.size)}</Td>
              </Tr>
            ))}
          </tbody>
        </Table>
      )}
    </>
  );
}

function Expiry({ at }: { at: string }) {
  const days = (new Date(at).getTime() - Date.now()) / MS_PER_DAY;
  if (days >= EXPIRES_SOON_DAYS) return null;
  return <Badge tone={days < 0 ? "crit" : "warn"}>{days < 0 ? "expired" : "expires soon"}</Badge>;
}

function Versions() {
  const query = useQuery(versionsQuery);
  return (
    <Panel title="Versions in use" flush>
      {query.isPending ? (
        <SkeletonRows rows={3} />
      ) : query.isError && !query.data ? (
        <ErrorState error={query.error} onRetry={() => query.refetch()} />
      ) : query.data.length === 0 ? (
        <EmptyState title="No machines yet" />
      ) : (
        <Table>
          <thead>
            <tr>
              <Th>Agent</Th>
              <Th>Protocol</Th>
              <Th className="text-right">Machines</Th>
              <Th className="text-right">Online</Th>
              <Th>Last seen</Th>
            </tr>
          </thead>
          <tbody>
            {query.data.map((version) => (
              <Tr key={`${version.agent_version} ${version.protocol_version}`}>
                <Td className="font-medium wrap-anywhere">{version.agent_version}</Td>
                <Td>{version.protocol_version ?? "–"}</Td>
                <Td className="text-right">{formatCount(version.agents)}</Td>
                <Td className="text-right">{formatCount(version.connected)}</Td>
                <Td className="text-ink-2">
                  <RelativeTime time={version.last_seen} />
                </Td>
              </Tr>
            ))}
          </tbody>
        </Table>
      )}
    </Panel>
  );
}

function Protocols() {
  const query = useQuery(protocolsQuery);
  const retire = useRetireProtocol();
  const [retiring, setRetiring] = useState<string | null>(null);
  return (
    <Panel
      title="Protocol versions"
      description="Of the machines of all partners. One that nobody speaks can be retired."
      flush
    >
      {query.isPending ? (
        <SkeletonRows rows={2} />
      ) : query.isError && !query.data ? (
        <ErrorState error={query.error} onRetry={() => query.refetch()} />
      ) : (
        <Table>
          <thead>
            <tr>
              <Th>Protocol</Th>
              <Th className="text-right">Machines</Th>
              <Th>Last seen</Th>
              <Th>
                <span className="sr-only">Actions</span>
              </Th>
            </tr>
          </thead>
          <tbody>
            {query.data.map(({ version, agents, last_seen, retired_at, can_retire }) => (
              <Tr key={version}>
                <Td className="font-medium">{version}</Td>
                <Td className="text-right">{formatCount(agents)}</Td>
                <Td className="text-ink-2">
                  <RelativeTime time={last_seen} />
                </Td>
                <Td className="text-right">
                  {retired_at ? (
                    <Badge>retired</Badge>
                  ) : can_retire ? (
                    <Button
                      size="sm"
                      aria-label={`Retire ${version}`}
                      onClick={() => setRetiring(version)}
                    >
                      Retire
                    </Button>
                  ) : null}
                </Td>
              </Tr>
            ))}
          </tbody>
        </Table>
      )}
      <Confirm
        open={retiring !== null}
        onOpenChange={(open) => {
          if (!open) setRetiring(null);
        }}
        title={`Retire protocol ${retiring}?`}
        action="Retire"
        busy={retire.isPending}
        error={retire.isError ? errorMessage(retire.error) : null}
        onConfirm={() =>
          retiring && retire.mutate(retiring, { onSuccess: () => setRetiring(null) })
        }
      >
        <p>
          An agent that comes back with nothing newer is told to update before it may connect. This
          cannot be taken back here.
        </p>
      </Confirm>
    </Panel>
  );
}
