import { useQuery } from "@tanstack/react-query";
import { useParams, useSearch } from "@tanstack/react-router";
import { Panel } from "../../ui/panel";
import { EmptyState } from "../../ui/states";
import { agentQuery } from "../agents/queries";
import { ObjectFallback } from "../shell/fallbacks";
import { PageHeader } from "../shell/page-header";
import { OpenSession } from "./open-session";
import { Session } from "./session-view";

/** A session with one machine: the page of whoever works on it. */
export function SessionPage() {
  const { agentId } = useParams({ from: "/app/agents/$agentId/session" });
  const { session } = useSearch({ from: "/app/agents/$agentId/session" });
  const query = useQuery(agentQuery(agentId));
  if (!query.data) return <ObjectFallback kind="Agent" query={query} />;
  const { agent } = query.data;
  if (session) return <Session key={session} sessionId={session} agent={agent} />;
  return (
    <>
      <PageHeader
        documentTitle={`Session with ${agent.hostname}`}
        title={`Session with ${agent.hostname}`}
        crumbs={[{ label: agent.hostname, link: { to: "/agents/$agentId", params: { agentId } } }]}
      />
      <Panel>
        <EmptyState title="No session is open here" action={<OpenSession agent={agent} primary />}>
          A session gives you the machine's terminals, files, processes and services. What is done
          in it is recorded.
        </EmptyState>
      </Panel>
    </>
  );
}
