// Services and the log of a machine that runs systemd, in the browser.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "@playwright/test";
import { expect, test } from "./fixtures";
import { endSession, openSession, run } from "./in-session";
import { firstSite, ownerState, serverUrl } from "./stack";
import { bootMachine, type Machine, whyNoMachine } from "./systemd";

const OUT = "test-results/e2e-session";
const NAME = "acme-web-01";
const SHOP = "/bin/sh -c 'echo the shop is open; exec sleep infinity'";

let machine: Machine | null = null;
test.beforeAll(async ({ browser }) => {
  const reason = whyNoMachine();
  if (reason) process.stdout.write(`No service is restarted: ${reason}.\n`);
  test.skip(reason !== null, reason ?? "");
  mkdirSync(OUT, { recursive: true });
  const context = await browser.newContext({ baseURL: serverUrl(), storageState: ownerState() });
  const { csrf_token } = await (await context.request.get("/api/v1/session")).json();
  const made = await context.request.post(`/api/v1/sites/${firstSite().siteId}/enrollment-keys`, {
    headers: { "X-CSRF-Token": csrf_token },
    data: { expires_in_hours: 1, label: NAME },
  });
  const { install } = await made.json();
  await context.close();
  machine = bootMachine(NAME, install.linux, { "shop.service": ["The shop of Acme", SHOP] });
});
test.afterAll(() => machine?.stop());

const there = (command: string) => machine?.run(command) ?? "";
const mainPid = (unit: string) =>
  Number(there(`systemctl show --property=MainPID --value ${unit}`));

/** Its id, as soon as it is connected. */
async function booted(page: Page): Promise<string> {
  let id = "";
  await expect(async () => {
    const answer = await page.request.get(`/api/v1/agents?status=online&search=${NAME}`);
    const { items } = await answer.json();
    id = items[0]?.id ?? "";
    expect(id, there("journalctl --no-pager --lines=20")).not.toBe("");
  }).toPass({ timeout: 30_000 });
  return id;
}

test("a service is restarted, and its log and the machine's are read", async ({ page }) => {
  await openSession(page, await booted(page));
  await run(page, "systemctl is-active shop", /^active$/m);

  await page.getByRole("link", { name: "Services", exact: true }).click();
  const row = page.getByRole("row", { name: /^shop\.service/ });
  await expect(row).toContainText("Running");
  const shownPid = async () =>
    Number(await row.getByRole("gridcell").filter({ hasText: /^\d+$/ }).textContent());
  const before = await shownPid();
  expect(before).toBeGreaterThan(1);
  await page.getByRole("button", { name: "Actions for shop.service" }).click();
  await page.getByRole("menuitem", { name: "Restart" }).click();
  await expect(page.getByText("The shop of Acme is restarted.")).toBeVisible();
  await expect.poll(shownPid).not.toBe(before);
  expect(mainPid("shop.service")).toBe(await shownPid());
  await page.screenshot({ path: join(OUT, "services.png") });

  await page.getByRole("button", { name: "Actions for shop.service" }).click();
  await page.getByRole("menuitem", { name: "Log" }).click();
  const log = page.getByRole("dialog", { name: "Log of shop.service" });
  await expect(log.getByText(/the shop is open/)).toHaveCount(2);
  await page.keyboard.press("Escape");

  // A script does the same.
  const after = await shownPid();
  const session = new URL(page.url()).searchParams.get("session");
  const { csrf_token } = await (await page.request.get("/api/v1/session")).json();
  const restarted = await page.request.post(`/api/v1/tunnel/${session}/services/restart`, {
    headers: { "X-CSRF-Token": csrf_token },
    data: { name: "shop.service" },
  });
  expect(restarted.status(), await restarted.text()).toBe(200);
  await page.getByRole("button", { name: "Read again" }).click();
  await expect.poll(shownPid).not.toBe(after);

  await page.getByRole("button", { name: "Actions for shop.service" }).click();
  await page.getByRole("menuitem", { name: "Stop" }).click();
  await page.getByRole("alertdialog").getByRole("button", { name: "Stop" }).click();
  await expect(row).toContainText("Stopped");

  await page.getByRole("link", { name: "Event log", exact: true }).click();
  const entries = page.getByRole("grid", { name: "Entries" });
  await expect(entries.getByText("the shop is open")).toHaveCount(3);
  await expect(entries.getByText("agent started").first()).toBeVisible();
  await page.getByLabel("Unit").fill("shop.service");
  await page.getByRole("button", { name: "Read", exact: true }).click();
  await expect(entries.getByText("agent started")).toHaveCount(0);
  await expect(entries.getByText("the shop is open")).toHaveCount(3);
  // What comes from now on shows too.
  await page
    .getByRole("navigation", { name: "Channels" })
    .getByRole("link", { name: /bash|sh/ })
    .first()
    .click();
  await run(page, "systemctl start shop && echo again-$((6 * 7))", "again-42");
  await page.getByRole("link", { name: "Event log", exact: true }).click();
  await expect(entries.getByText("the shop is open")).toHaveCount(4);
  await endSession(page);
});

test("the agent's own service comes back when it is killed, and goes with the agent", async ({
  page,
}) => {
  const unit = "gururmm-agent.service";
  const agentId = await booted(page);
  expect(there(`systemctl is-enabled ${unit}; systemctl is-active ${unit}`)).toBe(
    "enabled\nactive\n",
  );
  const places = "/etc/systemd/system /usr/local/lib /var/lib /run";
  const left = () => there(`find ${places} -name '*gururmm*'`);
  expect(left().split("\n")).toEqual(
    expect.arrayContaining([`/etc/systemd/system/${unit}`, "/var/lib/gururmm-agent"]),
  );
  const before = mainPid(unit);
  there(`systemctl kill --signal=KILL ${unit}`);
  await expect.poll(() => mainPid(unit), { timeout: 20_000 }).not.toBe(0);
  expect(mainPid(unit)).not.toBe(before);
  await page.goto(`/agents/${agentId}`);
  await expect(page.getByText("Online", { exact: true }).first()).toBeVisible();

  await page.getByRole("button", { name: `More actions for ${NAME}` }).click();
  await page.getByRole("menuitem", { name: "Uninstall" }).click();
  const asks = page.getByRole("alertdialog");
  await asks.getByRole("textbox").fill(NAME);
  await asks.getByRole("button", { name: "Uninstall" }).click();
  await expect(page.getByText("The agent was uninstalled")).toBeVisible({ timeout: 30_000 });
  await expect.poll(left).toBe("");
  expect(there("systemctl list-units --all --no-legend 'gururmm*'")).toBe("");
});
