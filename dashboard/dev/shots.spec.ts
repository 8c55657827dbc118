// Pictures of every page from invented data, for looking at: `npm run shots`. SHOTS names the pages, STATE (loading,
// empty, error, first-day) the state their lists are in, WIDTHS and SCHEMES what else to leave out.
import AxeBuilder from "@axe-core/playwright";
import { type Page, test } from "@playwright/test";
import { answer } from "./answers";
import { agentCrashes, agentLogs, agents, alerts, commands, NOW, sample } from "./fixtures";

const OUT = "test-results/shots";
const agent = agents[0]?.id;
const pending = agents.find(({ status }) => status === "pending")?.id;
const site = agents[0]?.site_id;
const client = agents[0]?.client_id;

const PAGES: Record<string, string> = {
  "sign-in": "/sign-in",
  setup: "/setup#token=abc",
  invite: "/invite#token=abc",
  overview: "/",
  agents: "/agents",
  agent: `/agents/${agent}`,
  "agent-pending": `/agents/${pending}/details`,
  "agent-commands": `/agents/${agent}/commands?command=${commands[0]?.id}`,
  "agent-policy": `/agents/${agent}/policy`,
  "agent-log": `/agents/${agent}/log`,
  "agent-log-crash": `/agents/${agent}/log?crash=${agentCrashes[0]?.id}`,
  "agent-log-waiting": `/agents/${agents[1]?.id}/log`,
  "agent-log-none": `/agents/${agents[2]?.id}/log`,
  "agent-log-failed": `/agents/${agents[4]?.id}/log`,
  "agent-log-part": `/agents/${agent}/log?log=${agentLogs[2]?.id}`,
  "agent-log-gone": `/agents/${agent}/log?log=01950013-0000-7000-8000-0000000000ff`,
  clients: "/clients",
  client: `/clients/${client}`,
  site: `/sites/${site}`,
  enrollment: `/enrollment?site_id=${site}`,
  commands: "/commands",
  alerts: "/alerts",
  "alert-crash-detail": `/alerts?alert=${alerts.find(({ kind }) => kind === "agent.crashed")?.id}`,
  users: "/users",
  audit: "/audit",
  profile: "/profile",
  settings: "/settings",
  system: "/system",
  "user-detail": "/users?user=01950002-0000-7000-8000-000000000003",
};

/** What is done on a page before its picture is taken. */
const ACTS: Record<string, { path: string; act: (page: Page) => Promise<unknown> }> = {
  palette: {
    path: "/",
    act: async (page) => {
      await page.keyboard.press("Control+k");
      await page.keyboard.type("acm");
    },
  },
  "drill-down": {
    path: `/agents/${agent}`,
    act: (page) => page.getByRole("button", { name: /^CPU/ }).click(),
  },
  "agent-log-found": {
    path: `/agents/${agent}/log`,
    act: async (page) => {
      await page.getByRole("searchbox", { name: "Lines that contain" }).fill("disk");
      await page.clock.runFor(400);
      await page.getByRole("button", { name: /^Level/ }).click();
      await page.getByRole("menuitemradio", { name: "Errors", exact: true }).click();
    },
  },
  "setup-organisation": { path: "/setup#token=abc", act: fillAccount },
  "setup-done": {
    path: "/setup#token=abc",
    act: async (page) => {
      await fillAccount(page);
      await page.getByLabel("Your company").fill("Northwind IT");
      await page.getByLabel("First client").fill("Acme Manufacturing");
      await page.getByRole("button", { name: "Finish setup" }).click();
      await page.getByText("Enroll by hand").click();
    },
  },
  rotate: {
    path: `/enrollment?site_id=${site}`,
    act: (page) => page.getByRole("button", { name: "Rotate", exact: true }).click(),
  },
  "account-menu": {
    path: "/commands",
    act: (page) => page.getByRole("button", { name: /^Account of|^Open navigation/ }).click(),
  },
  "invite-user": { path: "/users?invite=true", act: async () => undefined },
};

async function fillAccount(page: Page) {
  await page.getByLabel("Your name").fill("Maya Lindqvist");
  await page.getByLabel("Email").fill("maya@example.com");
  await page.getByLabel("Password", { exact: true }).fill("correct horse battery");
  await page.getByLabel("Password again").fill("correct horse battery");
  await page.getByRole("button", { name: "Continue" }).click();
}

/** Lists have four states; many rows is the one of no name. */
const STATE = process.env.STATE as "loading" | "empty" | "error" | "first-day" | undefined;
const suffix = STATE ? `-${STATE}` : "";

/** What a list that is in one of the other states answers; undefined leaves it to the invented data. */
function stateAnswer(url: URL, json: unknown) {
  if (!STATE || /\/(session|setup|invitations|live)\b/.test(url.pathname)) return undefined;
  if (STATE === "error") {
    return {
      status: 500,
      json: {
        code: "INTERNAL",
        status: 500,
        detail: "The server made a mistake.",
        request_id: "r1",
      },
    };
  }
  if (url.pathname === "/api/v1/overview" && json) {
    const none = { total: 0, online: 0, offline: 0, pending: 0 };
    const only = { total: 1, online: 1, offline: 0, pending: 0 };
    return {
      json: {
        ...json,
        agents: STATE === "empty" ? none : only,
        alerts: { open: 0, acknowledged: 0, critical: 0, warning: 0, info: 0 },
        clients_total: 1,
        sites_total: 1,
        commands: { running: 0, queued: 0, failed_24h: 0 },
        attention: [],
        recent_commands: [],
        os: STATE === "empty" ? [] : [{ os_type: "linux", count: 1 }],
      },
    };
  }
  const keep = STATE === "empty" ? 0 : 1;
  if (Array.isArray(json)) return { json: json.slice(0, keep) };
  const cut = (field: "items" | "clients" | "points") =>
    json && typeof json === "object" && field in json
      ? {
          json: {
            ...json,
            [field]: (json as Record<string, unknown[]>)[field]?.slice(
              field === "points" ? -keep * 20 || Number.POSITIVE_INFINITY : 0,
              field === "points" ? undefined : keep,
            ),
            ...(field === "items" && { next_cursor: null, total: keep }),
          },
        }
      : undefined;
  return cut("items") ?? cut("clients") ?? cut("points");
}

/** A tab of a machine has its own states only where the machine itself is there. */
const isKept = (name: string, { pathname }: URL) =>
  name.startsWith("agent-log") && /\/agents\/[^/]+$/.test(pathname);

async function standIn(page: Page, name: string) {
  const signedIn = name !== "sign-in";
  await page.clock.install({ time: NOW });
  await page.route("**/api/**", (route) => {
    const url = new URL(route.request().url());
    if (!signedIn && url.pathname === "/api/v1/session") {
      return route.fulfill({ status: 401, json: { code: "UNAUTHENTICATED", status: 401 } });
    }
    const json = answer(route.request().method(), url);
    const kept = isKept(name, url);
    if (STATE === "loading" && !kept && !url.pathname.includes("session")) return;
    const other = kept ? undefined : stateAnswer(url, json);
    if (other) return route.fulfill(other);
    return json === undefined
      ? route.fulfill({
          status: 404,
          json: { code: "NOT_FOUND", status: 404, detail: "Not found." },
        })
      : json === null
        ? route.fulfill({ status: 204 })
        : route.fulfill({ json });
  });
  await page.routeWebSocket("**/api/v1/live", (socket) => {
    socket.send(JSON.stringify({ type: "hello", server_time: new Date(NOW).toISOString() }));
    socket.onMessage((data) => {
      const message = JSON.parse(String(data));
      if (message.topic?.kind !== "agent_metrics") return;
      for (let n = 1; n <= 60; n++) {
        socket.send(
          JSON.stringify({
            type: "metrics",
            sub: message.sub,
            agent_id: message.topic.agent_id,
            sample: sample(NOW + n * 2000),
          }),
        );
      }
    });
  });
}

const only = process.env.SHOTS?.split(",");

const among = <T>(all: readonly T[], chosen: string | undefined) =>
  all.filter((one) => !chosen || chosen.split(",").includes(String(one)));

for (const width of among([1440, 390], process.env.WIDTHS)) {
  for (const colorScheme of among(["light", "dark"] as const, process.env.SCHEMES)) {
    test.describe(`${width} ${colorScheme}`, () => {
      test.use({ viewport: { width, height: width === 390 ? 844 : 900 }, colorScheme });
      for (const name of [...Object.keys(PAGES), ...Object.keys(ACTS)]) {
        const path = PAGES[name] ?? ACTS[name]?.path ?? "/";
        if (only && !only.includes(name)) continue;
        test(name, async ({ page }) => {
          const errors: string[] = [];
          page.on("pageerror", (error) => errors.push(error.message));
          await standIn(page, name);
          await page.goto(path);
          // What is never answered is never idle.
          if (STATE === "loading") await page.waitForTimeout(1000);
          else await page.waitForLoadState("networkidle");
          await ACTS[name]?.act(page);
          // A request that fails is tried again before the page says so.
          for (let n = 0; STATE === "error" && n < 8; n++) await page.clock.runFor(4000);
          await page.clock.runFor(1500);
          await page.screenshot({
            animations: "disabled",
            path: `${OUT}/${name}${suffix}-${width}-${colorScheme}.png`,
            fullPage:
              !name.includes("detail") &&
              name !== "agents" &&
              !(name in ACTS && !name.startsWith("setup")),
          });
          const wide = await page.evaluate(() => document.documentElement.scrollWidth);
          if (wide > width) errors.push(`the page is ${wide} px wide`);
          const { violations } = await new AxeBuilder({ page })
            // An open menu stands outside the landmarks.
            .disableRules(name.includes("menu") ? ["region"] : [])
            .analyze();
          for (const { id, nodes } of violations) {
            errors.push(
              `${id}: ${nodes.map(({ target, html }) => `${target} ${html.slice(0, 160)}`).join(" | ")}`,
            );
          }
          if (errors.length > 0) throw new Error(errors.join("\n"));
        });
      }
    });
  }
}
