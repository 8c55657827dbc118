import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { Badge } from "../../ui/badge";
import { Panel } from "../../ui/panel";
import { EmptyState, ErrorState, SkeletonRows } from "../../ui/states";
import { Table, Td, Th, Tr } from "../../ui/table";
import { fieldLabel, formatPolicyValue } from "./fields";
import { PolicyEditor } from "./policy-editor";
import { effectivePolicyQuery } from "./queries";

const SCOPES: Record<string, string> = {
  default: "Built-in default",
  platform: "Platform",
  partner: "Partner",
  client: "Client",
  site: "Site",
  agent: "This agent",
};

export function AgentPolicyTab() {
  const { agentId } = useParams({ from: "/app/agents/$agentId/policy" });
  const query = useQuery(effectivePolicyQuery(agentId));
  return (
    <div className="grid gap-5">
      <Panel
        title="In force on this machine"
        description="For each value the most specific level that sets it wins: platform, partner, client, site, agent."
        flush
      >
        {query.isPending ? (
          <SkeletonRows rows={3} />
        ) : query.isError && !query.data ? (
          <ErrorState error={query.error} onRetry={() => query.refetch()} />
        ) : query.data.fields.length === 0 ? (
          <EmptyState title="No policy applies" />
        ) : (
          <Table>
            <thead>
              <tr>
                <Th>Setting</Th>
                <Th>Value</Th>
                <Th>Set by</Th>
              </tr>
            </thead>
            <tbody>
              {query.data.fields.map((field) => (
                <Tr key={field.name}>
                  <Td>{fieldLabel(field.name)}</Td>
                  <Td className="font-medium">{formatPolicyValue(field.name, field.value)}</Td>
                  <Td>
                    <span className="flex flex-wrap items-center gap-2">
                      <Badge tone={field.source.scope === "agent" ? "accent" : "idle"}>
                        {SCOPES[field.source.scope] ?? field.source.scope}
                      </Badge>
                      {field.source.scope !== "default" && field.source.scope !== "agent" && (
                        <span className="text-ink-2 wrap-anywhere">{field.source.name}</span>
                      )}
                    </span>
                  </Td>
                </Tr>
              ))}
            </tbody>
          </Table>
        )}
      </Panel>
      <PolicyEditor
        scope="agent"
        id={agentId}
        title="Set for this agent only"
        description="What is set here wins over every level above."
      />
    </div>
  );
}
