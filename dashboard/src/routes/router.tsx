import type { QueryClient } from "@tanstack/react-query";
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
  Outlet,
  redirect,
} from "@tanstack/react-router";
import { z } from "zod";
import { safeNext, sessionQuery } from "../features/session/session";
import { AppShell } from "../features/shell/app-shell";
import { NotFoundPage, PageError } from "../features/shell/fallbacks";
import { ApiError } from "../lib/problem";
import {
  agentFilter,
  agentLogSearch,
  alertFilter,
  auditFilter,
  commandFilter,
  enrollmentSearch,
  placeSearch,
  replaySearch,
  sessionsSearch,
  signInSearch,
  timeRange,
  tunnelSearch,
  usersSearch,
} from "./search";

const root = createRootRouteWithContext<{ queryClient: QueryClient }>()({
  component: Outlet,
  notFoundComponent: NotFoundPage,
});

const setup = createRoute({
  getParentRoute: () => root,
  path: "/setup",
  component: lazyRouteComponent(() => import("../features/setup/setup-page"), "SetupPage"),
});

const signIn = createRoute({
  getParentRoute: () => root,
  path: "/sign-in",
  validateSearch: signInSearch,
  beforeLoad: ({ context, search }) => {
    // With a reason the session is over, even while it is still in the cache.
    if (!search.reason && context.queryClient.getQueryData(sessionQuery.queryKey)) {
      throw redirect({ href: safeNext(search.next) });
    }
  },
  component: lazyRouteComponent(() => import("../features/session/sign-in-page"), "SignInPage"),
});

const invite = createRoute({
  getParentRoute: () => root,
  path: "/invite",
  component: lazyRouteComponent(() => import("../features/session/invite-page"), "InvitePage"),
});

/** Everything below needs a session. */
const app = createRoute({
  getParentRoute: () => root,
  id: "app",
  beforeLoad: async ({ context, location }) => {
    try {
      await context.queryClient.ensureQueryData(sessionQuery);
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) {
        const next = location.href === "/" ? undefined : location.href;
        throw redirect({ to: "/sign-in", search: { next } });
      }
      throw error;
    }
  },
  component: AppShell,
  errorComponent: PageError,
});

const page = <const Path extends string>(path: Path) => ({ getParentRoute: () => app, path });

const overview = createRoute({
  ...page("/"),
  component: lazyRouteComponent(() => import("../features/overview/overview-page"), "OverviewPage"),
});
// Another name of the overview, so that an address typed by guess leads somewhere.
const fleet = createRoute({
  ...page("/fleet"),
  beforeLoad: () => {
    throw redirect({ to: "/" });
  },
});
const agents = createRoute({
  ...page("/agents"),
  validateSearch: agentFilter,
  component: lazyRouteComponent(() => import("../features/agents/agents-page"), "AgentsPage"),
});
const agent = createRoute({
  ...page("/agents/$agentId"),
  component: lazyRouteComponent(() => import("../features/agents/agent-page"), "AgentPage"),
});
const agentLive = createRoute({
  getParentRoute: () => agent,
  path: "/",
  validateSearch: timeRange,
  component: lazyRouteComponent(() => import("../features/agents/live-tab"), "LiveTab"),
});
const agentCommands = createRoute({
  getParentRoute: () => agent,
  path: "/commands",
  validateSearch: z.object({ command: z.uuid().optional().catch(undefined) }),
  component: lazyRouteComponent(
    () => import("../features/commands/agent-commands-tab"),
    "AgentCommandsTab",
  ),
});
const agentDetails = createRoute({
  getParentRoute: () => agent,
  path: "/details",
  component: lazyRouteComponent(() => import("../features/agents/details-tab"), "DetailsTab"),
});
const agentPolicy = createRoute({
  getParentRoute: () => agent,
  path: "/policy",
  component: lazyRouteComponent(
    () => import("../features/policies/agent-policy-tab"),
    "AgentPolicyTab",
  ),
});
const agentLog = createRoute({
  getParentRoute: () => agent,
  path: "/log",
  validateSearch: agentLogSearch,
  component: lazyRouteComponent(
    () => import("../features/agent-logs/agent-log-tab"),
    "AgentLogTab",
  ),
});
const agentUpdates = createRoute({
  getParentRoute: () => agent,
  path: "/updates",
  component: lazyRouteComponent(
    () => import("../features/updates/agent-updates-tab"),
    "AgentUpdatesTab",
  ),
});
const agentConnections = createRoute({
  getParentRoute: () => agent,
  path: "/connections",
  component: lazyRouteComponent(
    () => import("../features/connections/agent-connections-tab"),
    "AgentConnectionsTab",
  ),
});
const agentSessions = createRoute({
  getParentRoute: () => agent,
  path: "/sessions",
  component: lazyRouteComponent(
    () => import("../features/tunnel/agent-sessions-tab"),
    "AgentSessionsTab",
  ),
});
const sessions = createRoute({
  ...page("/sessions"),
  validateSearch: sessionsSearch,
  component: lazyRouteComponent(() => import("../features/tunnel/sessions-page"), "SessionsPage"),
});
const replay = createRoute({
  ...page("/sessions/$sessionId"),
  validateSearch: replaySearch,
  component: lazyRouteComponent(
    () => import("../features/tunnel/replay/replay-page"),
    "ReplayPage",
  ),
});
const agentSession = createRoute({
  ...page("/agents/$agentId/session"),
  validateSearch: tunnelSearch,
  component: lazyRouteComponent(() => import("../features/tunnel/session-page"), "SessionPage"),
});
const updates = createRoute({
  ...page("/updates"),
  component: lazyRouteComponent(() => import("../features/updates/updates-page"), "UpdatesPage"),
});
const commands = createRoute({
  ...page("/commands"),
  validateSearch: commandFilter,
  component: lazyRouteComponent(() => import("../features/commands/commands-page"), "CommandsPage"),
});
const alerts = createRoute({
  ...page("/alerts"),
  validateSearch: alertFilter,
  component: lazyRouteComponent(() => import("../features/alerts/alerts-page"), "AlertsPage"),
});
const clients = createRoute({
  ...page("/clients"),
  component: lazyRouteComponent(() => import("../features/tenancy/clients-page"), "ClientsPage"),
});
const client = createRoute({
  ...page("/clients/$clientId"),
  validateSearch: placeSearch,
  component: lazyRouteComponent(() => import("../features/tenancy/client-page"), "ClientPage"),
});
const site = createRoute({
  ...page("/sites/$siteId"),
  validateSearch: placeSearch,
  component: lazyRouteComponent(() => import("../features/tenancy/site-page"), "SitePage"),
});
const approvals = createRoute({
  ...page("/approvals"),
  component: lazyRouteComponent(
    () => import("../features/approvals/approvals-page"),
    "ApprovalsPage",
  ),
});
const enrollment = createRoute({
  ...page("/enrollment"),
  validateSearch: enrollmentSearch,
  component: lazyRouteComponent(
    () => import("../features/enrollment/enrollment-page"),
    "EnrollmentPage",
  ),
});
const users = createRoute({
  ...page("/users"),
  validateSearch: usersSearch,
  component: lazyRouteComponent(() => import("../features/users/users-page"), "UsersPage"),
});
const audit = createRoute({
  ...page("/audit"),
  validateSearch: auditFilter,
  component: lazyRouteComponent(() => import("../features/audit/audit-page"), "AuditPage"),
});
const profile = createRoute({
  ...page("/profile"),
  component: lazyRouteComponent(() => import("../features/profile/profile-page"), "ProfilePage"),
});
const settings = createRoute({
  ...page("/settings"),
  component: lazyRouteComponent(() => import("../features/settings/settings-page"), "SettingsPage"),
});
const system = createRoute({
  ...page("/system"),
  component: lazyRouteComponent(() => import("../features/system/system-page"), "SystemPage"),
});

const routeTree = root.addChildren([
  setup,
  signIn,
  invite,
  app.addChildren([
    overview,
    fleet,
    agents,
    agent.addChildren([
      agentLive,
      agentCommands,
      agentDetails,
      agentPolicy,
      agentUpdates,
      agentConnections,
      agentLog,
      agentSessions,
    ]),
    agentSession,
    sessions,
    replay,
    commands,
    updates,
    alerts,
    clients,
    client,
    site,
    approvals,
    enrollment,
    users,
    audit,
    profile,
    settings,
    system,
  ]),
]);

export function createAppRouter(queryClient: QueryClient) {
  return createRouter({
    routeTree,
    context: { queryClient },
    defaultPreload: "intent",
    defaultPreloadStaleTime: 0,
    defaultErrorComponent: PageError,
    defaultNotFoundComponent: NotFoundPage,
    scrollRestoration: true,
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof createAppRouter>;
  }
}
