// Every page of the dashboard, and what is known of its lists.
import type { Page } from "@playwright/test";
import { agentCrashes, agentLogs, agents, alerts, commands, retiredAgent, users } from "./fixtures";
import { SESSION } from "./machine";

const agent = agents[0]?.id;
const pending = agents.find(({ status }) => status === "pending")?.id;
const site = agents[0]?.site_id;
const client = agents[0]?.client_id;

export interface DashboardPage {
  path: string;
  /** A heading that stands once the page itself does, whatever its lists do. */
  heading: string;
  /** How many of its parts are loading at first, and fail, each for itself. */
  parts?: number;
  /** The sentences of its lists that have no rows. */
  empty?: readonly string[];
  /**
   * What becomes of many rows: so many lists end in "Show more", only those on the screen are drawn, in a page or in a
   * grid of its own, or few come.
   */
  many?: number | "drawn" | "grid" | "few";
  /** Requests that are answered as ever, so that what hangs on them can be in a state of its own. */
  steady?: RegExp;
  /** What it says in its ordinary state, where that is the point of it. */
  says?: string;
  /** It asks for something that is no longer there. */
  gone?: true;
  signedIn?: false;
}

/** A session with the first machine, at one of its tabs. */
const session = (of: keyof typeof SESSION, tab: string, more = "") =>
  `/agents/${agent}/session?session=${SESSION[of]}&tab=${tab}${more}`;
const KEY = encodeURIComponent("HKEY_LOCAL_MACHINE\\SOFTWARE\\Example");
const hostname = agents[0]?.hostname ?? "";

/** The one object a page is about. */
const OBJECT = /\/(agents|clients|sites)\/[^/]+$/;

export const PAGES: Record<string, DashboardPage> = {
  "sign-in": { path: "/sign-in", heading: "Sign in", signedIn: false },
  setup: { path: "/setup#token=abc", heading: "Create the first account" },
  invite: { path: "/invite#token=abc", heading: "Join Northwind IT" },
  overview: {
    path: "/",
    heading: "Overview",
    parts: 1,
    empty: ["No machines in Northwind IT yet"],
  },
  "overview-panels": {
    path: "/",
    heading: "Overview",
    parts: 2,
    empty: ["No machine is online", "No clients yet"],
    many: "few",
    steady: /\/overview$/,
  },
  agents: {
    path: "/agents",
    heading: "Agents",
    parts: 1,
    empty: ["No machines yet"],
    many: "drawn",
  },
  agent: {
    path: `/agents/${agent}`,
    heading: "History",
    parts: 2,
    empty: ["No figures yet", "No samples in this span"],
    steady: OBJECT,
  },
  "agent-sensors-none": {
    path: `/agents/${agents[1]?.id}`,
    heading: "Sensors",
    says: "No sensors",
  },
  "agent-sensors-unavailable": {
    path: `/agents/${agents[2]?.id}`,
    heading: "Sensors",
    says: "Sensors cannot be read",
  },
  "agent-sensors-untold": {
    path: `/agents/${agents[3]?.id}`,
    heading: "Sensors",
    says: "No sensors told of",
  },
  "agent-virtual": {
    path: `/agents/${agents[1]?.id}/details`,
    heading: "Hardware",
    says: "Virtual machine on KVM (AWS)",
  },
  "agent-host": {
    path: `/agents/${agent}/details`,
    heading: "Hosts 3 virtual machines (Proxmox VE)",
    says: "Hardware",
  },
  "agent-gone": { path: `/agents/${agent}`, heading: "Agent", parts: 1 },
  "agent-pending": {
    path: `/agents/${pending}/details`,
    heading: "Hardware",
    empty: ["No network state yet"],
  },
  "agent-retired": {
    path: `/agents/${retiredAgent.id}/details`,
    heading: "This machine is retired",
    says: "Bring it back",
  },
  "agent-uninstall-ordered": {
    path: `/agents/${agents[8]?.id}/details`,
    heading: "The agent will be uninstalled when the machine is next online",
    says: "Do not uninstall",
  },
  "agent-uninstalling": {
    path: `/agents/${agents[9]?.id}/details`,
    heading: "The agent is being uninstalled",
  },
  "agent-uninstall-failed": {
    path: `/agents/${agents[10]?.id}/details`,
    heading: "The agent was not uninstalled",
  },
  "agent-uninstall-unconfirmed": {
    path: `/agents/${agents[11]?.id}/details`,
    heading: "The agent was probably uninstalled",
  },
  "agent-uninstalled": {
    path: `/agents/${retiredAgent.id}/details`,
    heading: "The agent was uninstalled",
  },
  "agent-commands": {
    path: `/agents/${agent}/commands`,
    heading: "History",
    parts: 1,
    empty: ["Nothing has been run here yet"],
    many: 1,
    steady: OBJECT,
  },
  "agent-command": {
    path: `/agents/${agent}/commands?command=${commands[0]?.id}`,
    heading: "History",
    parts: 2,
    steady: OBJECT,
  },
  "agent-policy": {
    path: `/agents/${agent}/policy`,
    heading: "In force on this machine",
    parts: 2,
    empty: ["No policy applies"],
    steady: OBJECT,
  },
  "agent-updates": {
    path: `/agents/${agent}/updates`,
    heading: "Version",
    parts: 2,
    empty: ["No update yet"],
    many: 1,
    steady: OBJECT,
  },
  "agent-connections": {
    path: `/agents/${agent}/connections`,
    heading: "Connections",
    parts: 1,
    empty: ["Not connected yet"],
    many: 1,
    steady: OBJECT,
    says: "The machine was restarted or off.",
  },
  "agent-connections-offline": {
    path: `/agents/${agents[4]?.id}/connections`,
    heading: "Connections",
    says: "The agent was stopped, or the machine shut down.",
  },
  "agent-log": {
    path: `/agents/${agent}/log`,
    heading: agents[0]?.hostname ?? "",
    parts: 2,
    empty: ["No log was asked for yet"],
    steady: OBJECT,
  },
  "agent-log-crash": {
    path: `/agents/${agent}/log?crash=${agentCrashes[0]?.id}`,
    heading: "Crashes",
    parts: 3,
    empty: ["No log was asked for yet.", "None is known."],
    steady: OBJECT,
  },
  "agent-log-part": {
    path: `/agents/${agent}/log?log=${agentLogs[2]?.id}`,
    heading: "Crashes",
    parts: 3,
    steady: OBJECT,
  },
  "agent-log-waiting": {
    path: `/agents/${agents[1]?.id}/log`,
    heading: "Crashes",
    says: "The log is coming",
  },
  "agent-log-none": {
    path: `/agents/${agents[2]?.id}/log`,
    heading: agents[2]?.hostname ?? "",
    says: "No log was asked for yet",
  },
  "agent-log-failed": {
    path: `/agents/${agents[4]?.id}/log`,
    heading: "Crashes",
    says: "Nothing of it has come",
  },
  "agent-log-gone": {
    path: `/agents/${agent}/log?log=01950013-0000-7000-8000-0000000000ff`,
    heading: "Crashes",
    says: "This log is no longer kept",
    gone: true,
  },
  "session-none": {
    path: `/agents/${agent}/session`,
    heading: hostname,
    says: "No session is open here",
  },
  "session-terminal": {
    path: `/agents/${agent}/session?session=${SESSION.ready}`,
    heading: hostname,
    says: "bash",
  },
  "session-waiting": {
    path: session("waiting", "files", "&path=/srv"),
    heading: hostname,
    says: "Waiting for the machine",
  },
  "session-refused": {
    path: session("refused", "terminal-1"),
    heading: hostname,
    says: "The machine has no session for you",
  },
  "session-closed": {
    path: session("closed", "registry"),
    heading: hostname,
    says: "The session is over. Nothing was typed or asked for a while.",
  },
  "session-replaced": {
    path: session("replaced", "registry"),
    heading: hostname,
    says: "This session goes on in another window.",
  },
  "session-files": {
    path: session("ready", "files"),
    heading: hostname,
    parts: 1,
    empty: ["This folder is empty"],
    many: "grid",
    steady: OBJECT,
  },
  "session-processes": {
    path: session("ready", "processes"),
    heading: hostname,
    parts: 1,
    empty: ["The machine names no process"],
    many: "grid",
    steady: OBJECT,
  },
  "session-services": {
    path: session("ready", "services"),
    heading: hostname,
    parts: 1,
    empty: ["The machine names no service"],
    many: "grid",
    steady: OBJECT,
  },
  "session-registry": {
    path: session("windows", "registry", `&key=${KEY}`),
    heading: hostname,
    parts: 2,
    empty: ["This key has no values"],
    many: "grid",
    steady: OBJECT,
  },
  "session-registry-none": {
    path: session("ready", "registry"),
    heading: hostname,
    says: "Registry: not on this machine",
  },
  "session-events": {
    path: session("ready", "events"),
    heading: hostname,
    parts: 1,
    empty: ["Nothing was logged"],
    many: "grid",
    steady: OBJECT,
  },
  sessions: {
    path: "/sessions?q=systemctl",
    heading: "Sessions",
    parts: 3,
    empty: ["Nobody is on a machine", "No session is over yet", "Nobody typed this"],
    many: 3,
    says: "systemctl restart backup",
  },
  "agent-sessions": {
    path: `/agents/${agent}/sessions`,
    heading: "Who was on this machine",
    parts: 1,
    empty: ["No session yet"],
    many: 1,
    steady: OBJECT,
  },
  replay: {
    path: `/sessions/${SESSION.ready}`,
    heading: "Session with acm-ws-001",
    parts: 2,
    empty: ["Nothing else was recorded"],
    many: 1,
    steady: /\/recordings\/[^/]+$/,
  },
  clients: {
    path: "/clients",
    heading: "Clients and sites",
    parts: 1,
    empty: ["No clients yet"],
  },
  client: {
    path: `/clients/${client}`,
    heading: "Sites",
    parts: 2,
    empty: ["No sites yet", "No machines yet"],
    many: "drawn",
    steady: OBJECT,
  },
  "client-policy": {
    path: `/clients/${client}?tab=policy`,
    heading: "Policy",
    parts: 1,
    steady: OBJECT,
  },
  site: {
    path: `/sites/${site}`,
    heading: "Main works",
    parts: 1,
    empty: ["No machines at this site yet"],
    many: "drawn",
    steady: OBJECT,
  },
  approvals: {
    path: "/approvals",
    heading: "Approvals",
    parts: 1,
    empty: ["Nobody waits"],
    many: 1,
  },
  enrollment: {
    path: `/enrollment?site_id=${site}`,
    heading: "Enrollment",
    parts: 1,
    empty: ["No sites yet"],
  },
  "enrollment-site": {
    path: `/enrollment?site_id=${site}`,
    heading: "Keys",
    parts: 3,
    empty: ["No keys yet", "No failed installations"],
    many: 2,
    steady: /\/tree$/,
  },
  commands: {
    path: "/commands",
    heading: "Commands",
    parts: 1,
    empty: ["Nothing has been run yet"],
    many: 1,
  },
  updates: {
    path: "/updates",
    heading: "Updates",
    parts: 4,
    empty: ["No rollout yet", "Nothing is published", "No machines yet"],
  },
  alerts: {
    path: "/alerts",
    heading: "Alerts",
    parts: 1,
    empty: ["No open alerts"],
    many: 1,
  },
  "alert-crash-detail": {
    path: `/alerts?alert=${alerts.find(({ kind }) => kind === "agent.crashed")?.id}`,
    heading: "The agent of acm-ws-001 crashed",
  },
  users: {
    path: "/users",
    heading: "Users",
    parts: 1,
    empty: ["No users yet"],
    many: 1,
  },
  "user-detail": {
    path: `/users?user=${users[2]?.id}`,
    heading: "Amara Osei",
    parts: 2,
    empty: ["No clients yet", "Not signed in anywhere"],
    many: 1,
    steady: /\/users$/,
  },
  audit: {
    path: "/audit",
    heading: "Audit log",
    parts: 1,
    empty: ["Nothing has been recorded yet"],
    many: 1,
  },
  profile: {
    path: "/profile",
    heading: "Where you are signed in",
    parts: 1,
    empty: ["Not signed in anywhere"],
    many: 1,
  },
  settings: { path: "/settings", heading: "Organisation", parts: 2 },
  system: {
    path: "/system",
    heading: "Partners",
    parts: 5,
    empty: ["No partners yet", "No server has said yet that it lives"],
    many: 1,
    says: "NATS is away: it hears of the others late",
  },
};

async function fillAccount(page: Page) {
  await page.getByLabel("Your name").fill("Maya Lindqvist");
  await page.getByLabel("Email").fill("maya@example.com");
  await page.getByLabel("Password", { exact: true }).fill("correct horse battery");
  await page.getByLabel("Password again").fill("correct horse battery");
  await page.getByRole("button", { name: "Continue" }).click();
}

/** What opens over a page or follows on it, and how one gets there. */
export const ACTS: Record<string, DashboardPage & { act: (page: Page) => Promise<unknown> }> = {
  palette: {
    path: "/",
    heading: "Search or jump to",
    act: async (page) => {
      await page.keyboard.press("Control+k");
      await page.getByPlaceholder("Machine, site, page or action").fill("acm");
      await page.getByRole("option").first().waitFor();
    },
  },
  "drill-down": {
    path: `/agents/${agent}`,
    heading: "Processes",
    act: (page) => page.getByRole("button", { name: /^CPU/ }).click(),
  },
  "history-year": {
    path: `/agents/${agent}?range=1y`,
    heading: "drawn from averages of a day",
    act: (page) => page.getByRole("group", { name: /^Load:/ }).press("ArrowLeft"),
  },
  "history-span": {
    path: `/agents/${agent}`,
    heading: "drawn from averages of 5 minutes",
    act: async (page) => {
      await page.getByRole("radio", { name: "From–to" }).click();
      await page.getByLabel("From", { exact: true }).fill("2026-07-01T00:00");
      await page.getByLabel("To", { exact: true }).fill("2026-06-30T12:00");
      await page.getByRole("button", { name: "Show" }).click();
      await page.getByText("The end comes after the beginning.").waitFor();
      await page.getByLabel("To", { exact: true }).fill("2026-07-02T12:00");
      await page.getByRole("button", { name: "Show" }).click();
    },
  },
  "agent-log-found": {
    path: `/agents/${agent}/log`,
    heading: "Copy these lines",
    act: async (page) => {
      await page.getByRole("searchbox", { name: "Lines that contain" }).fill("disk");
      await page.clock.runFor(400);
      await page.getByRole("button", { name: /^Level/ }).click();
      await page.getByRole("menuitemradio", { name: "Errors", exact: true }).click();
    },
  },
  "setup-organisation": { path: "/setup#token=abc", heading: "organisation", act: fillAccount },
  "setup-done": {
    path: "/setup#token=abc",
    heading: "first machine",
    act: async (page) => {
      await fillAccount(page);
      await page.getByLabel("Your company").fill("Northwind IT");
      await page.getByLabel("First client").fill("Acme Manufacturing");
      await page.getByRole("button", { name: "Finish setup" }).click();
      await page.getByText("Enroll by hand").click();
    },
  },
  "add-machine-windows": {
    path: `/enrollment?site_id=${site}`,
    heading: "In a console with administrator's rights, beside the installer",
    act: async (page) => {
      await page.getByRole("button", { name: "Make commands" }).click();
      for (const step of await page.locator("main details").all()) {
        await step.locator("summary").click();
      }
    },
  },
  "add-machine-linux": {
    path: `/enrollment?site_id=${site}`,
    heading: "Run this on a Linux machine",
    act: async (page) => {
      await page.getByRole("radio", { name: "Linux" }).click();
      await page.getByRole("button", { name: "Make an install command" }).click();
      await page.getByText("With the .deb package").first().click();
    },
  },
  "add-machine-macos": {
    path: `/enrollment?site_id=${site}`,
    heading:
      "This server has no macOS package; its operator makes it on a Mac from what ./dev dist builds.",
    act: (page) => page.getByRole("radio", { name: "macOS" }).click(),
  },
  "approve-some": {
    path: "/approvals",
    heading: "The machine does not wait for approval",
    act: async (page) => {
      await page.getByRole("checkbox", { name: "Choose all" }).click();
      await page.getByRole("button", { name: /^Approve \d/ }).click();
    },
  },
  "merge-agents": {
    path: `/agents/${agent}/details`,
    heading: "Whose key works from then on",
    act: async (page) => {
      await page.getByRole("button", { name: /^More actions for/ }).click();
      await page.getByRole("menuitem", { name: "Merge another record into it" }).click();
      await page.getByRole("radio").first().click();
    },
  },
  "retire-agent": {
    path: `/agents/${agent}/details`,
    heading: "The program on the machine is not uninstalled.",
    act: async (page) => {
      await page.getByRole("button", { name: /^More actions for/ }).click();
      await page.getByRole("menuitem", { name: "Retire" }).click();
    },
  },
  "uninstall-agent": {
    path: `/agents/${agent}/details`,
    heading: "Uninstall the agent of",
    act: async (page) => {
      await page.getByRole("button", { name: /^More actions for/ }).click();
      await page.getByRole("menuitem", { name: "Uninstall" }).click();
      await page.getByLabel(/to confirm$/).fill(agents[0]?.hostname ?? "");
    },
  },
  "reenroll-agent": {
    path: `/agents/${agent}/details`,
    heading: "On the machine, with the key saved as enrollment.key",
    act: async (page) => {
      await page.getByRole("button", { name: /^More actions for/ }).click();
      await page.getByRole("menuitem", { name: "Let it enroll anew" }).click();
      await page.getByRole("button", { name: "Give up its key" }).click();
    },
  },
  "session-why": {
    path: `/agents/${agents[1]?.id}/details`,
    heading: "The policy of this machine asks why.",
    gone: true,
    act: (page) => page.getByRole("button", { name: "Open session" }).click(),
  },
  "session-shells": {
    path: session("ready", "files"),
    heading: "As the signed-in user",
    act: (page) => page.getByRole("button", { name: "Which shell, and as whom" }).click(),
  },
  "session-keys": {
    path: `/agents/${agent}/session?session=${SESSION.ready}`,
    heading: "All others go to the shell.",
    act: async (page) => {
      await page.locator(".xterm-screen").waitFor();
      await page.getByRole("button", { name: "This terminal" }).click();
      await page.getByRole("menuitem", { name: "Keys" }).click();
    },
  },
  "session-end": {
    path: `/agents/${agent}/session?session=${SESSION.ready}`,
    heading: "One shell is running.",
    act: (page) => page.getByRole("button", { name: "End session" }).click(),
  },
  "session-transfers": {
    path: session("ready", "files"),
    heading: "There is a file of this name",
    act: (page) =>
      page.getByLabel("Files to send").setInputFiles([
        { name: "report.pdf", mimeType: "application/pdf", buffer: Buffer.alloc(4_000) },
        { name: "image.iso", mimeType: "application/octet-stream", buffer: Buffer.alloc(900_000) },
      ]),
  },
  "session-editor": {
    path: session("ready", "files"),
    heading: "Ctrl+S saves",
    act: async (page) => {
      await page.getByRole("button", { name: "deploy.sh", exact: true }).click();
      await page.getByRole("textbox", { name: "Text of deploy.sh" }).waitFor();
    },
  },
  "session-permissions": {
    path: session("ready", "files"),
    heading: "rw-r--r--",
    act: async (page) => {
      await page.getByRole("button", { name: "Actions for notes.txt" }).click();
      await page.getByRole("menuitem", { name: "Permissions and owner" }).click();
    },
  },
  "session-delete": {
    path: session("ready", "files"),
    heading: "Folders go with all that is in them.",
    act: async (page) => {
      await page.getByRole("checkbox", { name: "Choose all" }).click();
      await page.getByRole("button", { name: "Delete", exact: true }).click();
    },
  },
  "session-kill": {
    path: session("ready", "processes"),
    heading: "With all that it started",
    act: async (page) => {
      await page
        .getByRole("button", { name: /^Actions for nginx/ })
        .first()
        .click();
      await page.getByRole("menuitem", { name: "End" }).click();
    },
  },
  "session-service-log": {
    path: session("ready", "services"),
    heading: "Log of backup.service",
    act: async (page) => {
      await page.getByRole("button", { name: "Actions for backup.service" }).click();
      await page.getByRole("menuitem", { name: "Log" }).click();
    },
  },
  "session-registry-value": {
    path: session("windows", "registry", `&key=${KEY}`),
    heading: "One text on each line.",
    act: async (page) => {
      await page.getByRole("button", { name: "Actions for Servers" }).click();
      await page.getByRole("menuitem", { name: "Edit" }).click();
    },
  },
  "session-event": {
    path: session("ready", "events"),
    heading: "Triggered by timer.",
    act: (page) => page.getByRole("row", { name: /backup\.service/ }).press("Enter"),
  },
  "send-agents-elsewhere": {
    path: "/system",
    heading: "Send agents there",
    act: async (page) => {
      await page.getByRole("button", { name: "Send agents elsewhere" }).click();
      await page.getByRole("textbox", { name: "Address" }).fill("https://rmm.example.com");
    },
  },
  "largest-tables": {
    path: "/system",
    heading: "metric_samples_90_20260309",
    act: (page) => page.getByText("The largest tables").click(),
  },
  rotate: {
    path: `/enrollment?site_id=${site}`,
    heading: "Rotate the standing key?",
    act: (page) => page.getByRole("button", { name: "Rotate", exact: true }).click(),
  },
  "policy-window": {
    path: `/clients/${client}?tab=policy`,
    heading: "Maintenance window",
    act: (page) => page.getByLabel("Maintenance window").selectOption("own"),
  },
  "rollout-back": {
    path: "/updates",
    heading: "Take this version back?",
    act: (page) => page.getByRole("button", { name: "Take back: 0.5.0" }).click(),
  },
  "agent-roll-back": {
    path: `/agents/${agents[1]?.id}/updates`,
    heading: "back to 0.4.1?",
    act: (page) => page.getByRole("button", { name: "Roll back", exact: true }).click(),
  },
  "account-menu": {
    path: "/commands",
    heading: "Commands",
    act: (page) => page.getByRole("button", { name: /^Account of|^Open navigation/ }).click(),
  },
  "invite-user": {
    path: "/users?invite=true",
    heading: "Invite a user",
    act: async () => undefined,
  },
};
