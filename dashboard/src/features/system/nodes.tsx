import { useQuery } from "@tanstack/react-query";
import type { Node } from "../../api/types";
import { formatCount, formatDuration, formatElapsed } from "../../lib/format";
import { useWide } from "../../lib/media";
import { useNow } from "../../lib/now";
import { Badge, Status } from "../../ui/badge";
import { Fact, Facts, Panel } from "../../ui/panel";
import { ScrollX } from "../../ui/scroll-x";
import { EmptyState, ErrorState, SkeletonRows } from "../../ui/states";
import { Table, Td, Th, Tr } from "../../ui/table";
import { RelativeTime } from "../../ui/time";
import { busWords, NODE_STATUS } from "./figures";
import { nodesQuery } from "./queries";

/** The servers of this installation, as each says of itself. */
export function Nodes() {
  const query = useQuery(nodesQuery);
  const wide = useWide();
  return (
    <Panel title="Servers" flush>
      {query.isPending ? (
        <SkeletonRows rows={2} />
      ) : !query.data ? (
        <ErrorState error={query.error} onRetry={() => query.refetch()} />
      ) : query.data.length === 0 ? (
        <EmptyState title="No server has said yet that it lives" />
      ) : wide ? (
        <ScrollX label="Servers and what each does">
          <Table>
            <thead>
              <tr>
                <Th>Name</Th>
                <Th>Status</Th>
                <Th>Version</Th>
                <Th className="text-right">Agents</Th>
                <Th className="text-right">Dashboards</Th>
                <Th className="text-right">Samples/min</Th>
                <Th className="text-right">Waiting</Th>
                <Th className="text-right">Lag</Th>
                <Th>Last seen</Th>
              </tr>
            </thead>
            <tbody>
              {query.data.map((node) => (
                <NodeRow key={node.id} node={node} />
              ))}
            </tbody>
          </Table>
        </ScrollX>
      ) : (
        <ul aria-label="Servers">
          {query.data.map((node) => (
            <NodeItem key={node.id} node={node} />
          ))}
        </ul>
      )}
    </Panel>
  );
}

function NodeRow({ node }: { node: Node }) {
  const runs = node.status === "running";
  // What a server that is gone said last does not hold any more.
  const figure = (text: string) => (runs ? text : "–");
  return (
    <Tr>
      <Td>
        <NodeName node={node} />
      </Td>
      <Td>
        <NodeStatus node={node} />
      </Td>
      <Td className="font-mono text-sm">{node.version}</Td>
      <Td className="text-right">{figure(formatCount(node.connected_agents))}</Td>
      <Td className="text-right">{figure(formatCount(node.browsers))}</Td>
      <Td className="text-right">{figure(formatCount(node.samples_per_minute))}</Td>
      <Td className="text-right">{figure(formatCount(node.ingest_queue_depth))}</Td>
      <Td className="whitespace-nowrap text-right">{figure(formatElapsed(node.ingest_lag_ms))}</Td>
      <Td className="text-ink-2">
        <RelativeTime time={node.last_seen} />
      </Td>
    </Tr>
  );
}

/** The same where a table has no room. */
function NodeItem({ node }: { node: Node }) {
  return (
    <li className="grid gap-3 border-line border-b p-4 last:border-b-0">
      <div className="flex flex-wrap items-start justify-between gap-x-4 gap-y-1">
        <NodeName node={node} />
        <NodeStatus node={node} />
      </div>
      <Facts>
        <Fact label="Version" mono>
          {node.version}
        </Fact>
        {node.status === "running" && (
          <>
            <Fact label="Agents">{formatCount(node.connected_agents)}</Fact>
            <Fact label="Dashboards">{formatCount(node.browsers)}</Fact>
            <Fact label="Samples/min">{formatCount(node.samples_per_minute)}</Fact>
            <Fact label="Waiting">{formatCount(node.ingest_queue_depth)}</Fact>
            <Fact label="Lag">{formatElapsed(node.ingest_lag_ms)}</Fact>
          </>
        )}
        <Fact label="Last seen">
          <RelativeTime time={node.last_seen} />
        </Fact>
      </Facts>
    </li>
  );
}

function NodeName({ node }: { node: Node }) {
  const now = useNow();
  return (
    <div className="min-w-0">
      <span className="flex flex-wrap items-center gap-2 font-medium wrap-anywhere">
        {node.name}
        {node.is_this && <Badge tone="accent">answers you</Badge>}
      </span>
      {node.status === "running" && (
        <span className="block whitespace-nowrap text-ink-3 text-sm">
          up {formatDuration((now - Date.parse(node.started_at)) / 1000)}
        </span>
      )}
    </div>
  );
}

function NodeStatus({ node }: { node: Node }) {
  const { label, tone } = NODE_STATUS[node.status];
  const away = node.status === "running" && node.bus === "away";
  const words = busWords(node);
  return (
    <div>
      <Status tone={away ? "warn" : tone}>{label}</Status>
      {words && (
        <span className={away ? "block text-sm text-warn" : "block text-ink-2 text-sm"}>
          {words}
        </span>
      )}
    </div>
  );
}
