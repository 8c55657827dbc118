import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import {
  createMemoryHistory,
  createRootRoute,
  createRoute,
  createRouter,
  Outlet,
  RouterProvider,
} from "@tanstack/react-router";
import type { ReactNode } from "react";
import { renderToString } from "react-dom/server";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { keys } from "../../api/keys";
import type { Agent, AgentCrash, AgentLog, Alert, Permission } from "../../api/types";
import { ApiError } from "../../lib/problem";
import { agentLogSearch } from "../../routes/search";
import { TooltipProvider } from "../../ui/tooltip";
import { AgentPage } from "../agents/agent-page";
import { AgentLink, CrashLink } from "../alerts/alerts-page";
import { AgentLogTab } from "./agent-log-tab";

// What only a browser has.
vi.mock("../../lib/now", () => ({ useNow: () => Date.parse("2026-11-29T19:05:00Z") }));
vi.mock("../../lib/media", () => ({ useWide: () => true }));

const AGENT = "0195fd00-0000-7000-8000-000000000001";
const LOG = "0195fd00-0000-7000-8000-0000000000e1";
const CRASH = "0195fd00-0000-7000-8000-0000000000f1";

const agent = (change: Partial<Agent> = {}) =>
  ({
    id: AGENT,
    hostname: "acm-ws-001",
    status: "online",
    is_connected: true,
    os_version: "Debian 12",
    client_id: "c1",
    client_name: "Acme Manufacturing",
    site_id: "s1",
    site_name: "Main works",
    open_alerts: 0,
    ...change,
  }) as Agent;
const log = (change: Partial<AgentLog> = {}): AgentLog => ({
  id: LOG,
  agent_id: AGENT,
  status: "complete",
  requested_at: "2026-11-29T19:00:00Z",
  requested_by_name: "Maya Lindqvist",
  ended_at: "2026-11-29T19:00:01Z",
  received_bytes: 120,
  total_bytes: 120,
  lost_lines: 0,
  error: null,
  ...change,
});
const crash = (change: Partial<AgentCrash> = {}): AgentCrash => ({
  id: CRASH,
  agent_id: AGENT,
  cause: "killed",
  crashed_at: "2026-11-29T18:00:00Z",
  received_at: "2026-11-29T18:00:09Z",
  agent_version: "0.1.0",
  message: null,
  ...change,
});

let client: QueryClient;
beforeEach(() => {
  client = new QueryClient({ defaultOptions: { queries: { retryOnMount: false } } });
  signedIn("read_fleet", "read_agent_logs");
  knows({});
});

function signedIn(...permissions: Permission[]) {
  client.setQueryData(keys.session, { role: "tech", permissions });
}

function knows({
  of = agent(),
  logs = [],
  crashes = [],
}: {
  of?: Agent;
  logs?: AgentLog[];
  crashes?: AgentCrash[];
}) {
  client.setQueryData(keys.agent(AGENT), { agent: of });
  client.setQueryData(keys.agentLogs(AGENT), logs);
  client.setQueryData(keys.agentCrashes(AGENT), crashes);
}

async function failed(queryKey: readonly unknown[], error: Error) {
  await client
    .fetchQuery({ queryKey, queryFn: () => Promise.reject(error), retry: false })
    .catch(() => {});
}

/** The page as it stands at an address, with an element of the test's own beside it. */
async function page(search = "", beside: ReactNode = null): Promise<string> {
  const root = createRootRoute({ component: Outlet });
  const app = createRoute({ getParentRoute: () => root, id: "app", component: Outlet });
  const of = createRoute({
    getParentRoute: () => app,
    path: "/agents/$agentId",
    component: () => (
      <>
        {beside}
        <AgentPage />
      </>
    ),
  });
  const tab = createRoute({
    getParentRoute: () => of,
    path: "/log",
    validateSearch: agentLogSearch,
    component: AgentLogTab,
  });
  const router = createRouter({
    routeTree: root.addChildren([app.addChildren([of.addChildren([tab])])]),
    history: createMemoryHistory({ initialEntries: [`/agents/${AGENT}/log${search}`] }),
  });
  await router.load();
  return renderToString(
    <QueryClientProvider client={client}>
      <TooltipProvider>
        <RouterProvider router={router as never} />
      </TooltipProvider>
    </QueryClientProvider>,
  ).replaceAll("<!-- -->", "");
}

const button = (html: string) =>
  /<button[^>]*>(?:(?!<\/button>).)*Get the log<\/button>/.exec(html)?.[0];

describe("the log tab", () => {
  it("is there for whoever may read logs, and for nobody else", async () => {
    expect(await page()).toContain(`href="/agents/${AGENT}/log"`);
    signedIn("read_fleet");
    const html = await page();
    expect(html).not.toContain(`href="/agents/${AGENT}/log"`);
    expect(html).toContain("does not include this");
    expect(html).not.toContain("Get the log");
  });

  it("says that nothing was asked for yet, and offers to ask", async () => {
    const html = await page();
    expect(html).toContain("No log was asked for yet");
    expect(button(html)).not.toContain('aria-disabled="true"');
  });

  it("asks no machine that is offline or waits for approval, and says why", async () => {
    knows({ of: agent({ status: "offline", is_connected: false }) });
    const offline = await page();
    expect(button(offline)).toContain('aria-disabled="true"');
    expect(offline).toContain("The machine is offline.");
    knows({ of: agent({ status: "pending" }) });
    expect(await page()).toContain("The machine waits for approval.");
  });

  it("says how far a log has come while it is on its way, and does not read it yet", async () => {
    knows({ logs: [log({ status: "requested", received_bytes: 0, ended_at: null })] });
    const waiting = await page();
    expect(waiting).toContain("Waiting for the machine");
    expect(waiting).toContain("Asked for by Maya Lindqvist");
    expect(button(waiting)).toContain('aria-busy="true"');
    knows({ logs: [log({ status: "requested", received_bytes: 655_360, ended_at: null })] });
    expect(await page()).toContain("640 KiB so far");
    expect(client.getQueryState(keys.agentLog(LOG))?.fetchStatus ?? "idle").toBe("idle");
  });

  it("shows the newest log as text and nothing but text, with what is lacking in it", async () => {
    const newest = log({ total_bytes: 4_096, received_bytes: 1_024, lost_lines: 2 });
    knows({ logs: [newest], crashes: [crash()] });
    client.setQueryData(keys.agentLog(LOG), {
      log: newest,
      text: `2026-11-29T19:00:00.000001Z  INFO gururmm_agent: <img src=x onerror=alert(1)> \u202e\u001b[2Jend\n${"x".repeat(5_000)}\n`,
    });
    const html = await page();
    expect(html).not.toContain("<img");
    expect(html).toContain("&lt;img src=x onerror=alert(1)&gt; end");
    expect(html).toContain("2 lines, times in UTC");
    expect(html).toContain("Showing the newest 1.0 KiB of 4.0 KiB on the machine.");
    expect(html).toContain("2 lines could not be written since the agent started.");
    expect(html).toContain("Ended from outside: killed or out of memory");
  });

  it("draws a bounded number of rows, however many there are", async () => {
    knows({ logs: [log()] });
    client.setQueryData(keys.agentLog(LOG), { log: log(), text: "a line\n".repeat(30_000) });
    const html = await page();
    expect(html).toContain("30,000 lines");
    expect(html.split("data-index").length).toBeLessThan(100);
  });

  it("says why a log failed; of one of which nothing came, it reads nothing", async () => {
    const error = "the machine did not send it in time";
    knows({ logs: [log({ status: "failed", error, received_bytes: 0, total_bytes: null })] });
    const html = await page();
    expect(html).toContain("The machine did not send it in time.");
    expect(html).toContain("Nothing of it has come");
  });

  it("a link from an alert chooses its crash", async () => {
    const message = "a.rs:1:2: <b>Boom</b>";
    knows({ logs: [log()], crashes: [crash({ cause: "panic", message })] });
    client.setQueryData(keys.agentCrash(CRASH), {
      crash: crash({ cause: "panic", message }),
      text: "the last line\n",
    });
    const html = await page(`?crash=${CRASH}`);
    expect(html).toContain("the last line");
    expect(html).toContain("a.rs:1:2: &lt;b&gt;Boom&lt;/b&gt;");
    const chosen = html.match(/<a aria-current="(?:true|page)"[^>]*>/g);
    expect(chosen?.join()).toContain(`crash=${CRASH}`);
  });

  it("says that a log is no longer kept, and shows none of another machine", async () => {
    knows({ logs: [log({ id: "0195fd00-0000-7000-8000-0000000000e2" })] });
    await failed(
      keys.agentLog(LOG),
      new ApiError({ status: 404, code: "NOT_FOUND", detail: "Not found." }),
    );
    expect(await page(`?log=${LOG}`)).toContain("This log is no longer kept");
    client.setQueryData(keys.agentLog(LOG), {
      log: log({ agent_id: "0195fd00-0000-7000-8000-000000000002" }),
      text: "of another machine",
    });
    const html = await page(`?log=${LOG}`);
    expect(html).toContain("This log is no longer kept");
    expect(html).not.toContain("of another machine");
  });

  it("says what could not be fetched, and offers another try", async () => {
    client.removeQueries({ queryKey: keys.agentLogs(AGENT) });
    await failed(
      keys.agentLogs(AGENT),
      new ApiError({ status: 500, code: "INTERNAL", detail: "The server made a mistake." }),
    );
    const html = await page();
    expect(html).toContain("The server made a mistake.");
    expect(html).toContain("Try again");
  });
});

describe("the alert of a crash", () => {
  const alert = {
    id: "x",
    kind: "agent.crashed",
    detail: { crash_id: CRASH, cause: "killed" },
    agent_id: AGENT,
    agent_hostname: "acm-ws-001",
  } as unknown as Alert;
  const links = (
    <aside>
      <AgentLink alert={alert} />
      <CrashLink alert={alert} />
    </aside>
  );
  const aside = (html: string) => /<aside>.*<\/aside>/.exec(html)?.[0] ?? "";

  it("leads to the crash in the machine's log", async () => {
    const html = aside(await page("", links));
    expect(html.split(`/agents/${AGENT}/log?crash=${CRASH}`).length).toBe(3);
    expect(html).toContain("Read the log before it");
  });

  it("leads whoever may not read logs to the machine", async () => {
    signedIn("read_fleet");
    const html = aside(await page("", links));
    expect(html).not.toContain("crash=");
    expect(html).toContain(`href="/agents/${AGENT}"`);
    expect(html).not.toContain("Read the log before it");
  });
});
