import type { Browser, Page } from "@playwright/test";
import { expect, signedIn, test } from "./fixtures";
import { firstAgent, killAgent, runAgent } from "./stack";

/** Someone of a role, signed in, and gone from the organisation at the end. */
async function colleague(page: Page, browser: Browser, role: "tech" | "read_only") {
  const { csrf_token } = await (await page.request.get("/api/v1/session")).json();
  const headers = { "X-CSRF-Token": csrf_token };
  const email = `${role}@example.com`;
  const password = "reads what the agents write";
  const invited = await page.request.post("/api/v1/users", {
    headers,
    data: { email, name: "Amara Osei", role },
  });
  expect(invited.status(), await invited.text()).toBe(201);
  const { user, invitation } = await invited.json();
  const accepted = await page.request.post("/api/v1/invitations/accept", {
    headers,
    data: { token: invitation.url_path.split("token=")[1], password },
  });
  expect(accepted.ok(), await accepted.text()).toBe(true);
  const own = await signedIn(browser, email, password);
  const leave = async () => {
    await own.context().close();
    await page.request.delete(`/api/v1/users/${user.id}`, { headers });
  };
  return { page: own, leave };
}

test("a technician gets the log of a machine and looks through it", async ({
  page,
  browser,
  agentId,
}) => {
  const tech = await colleague(page, browser, "tech");
  try {
    await tech.page.goto(`/agents/${agentId}`);
    await tech.page.getByRole("link", { name: "Log", exact: true }).click();
    await expect(tech.page.getByText("No log was asked for yet")).toBeVisible();
    await tech.page.getByRole("button", { name: "Get the log" }).click();
    await expect(tech.page).toHaveURL(/log\?log=/);

    const chosen = tech.page.getByRole("article", { name: "Chosen log" });
    const text = chosen.getByRole("region", { name: "Log" });
    await expect(text).toContainText("agent started");
    await expect(chosen).toContainText("Complete");
    await expect(tech.page.getByText("Last asked for by Amara Osei")).toBeVisible();

    await chosen.getByRole("searchbox", { name: "Lines that contain" }).fill("AGENT STARTED");
    await expect(chosen.getByText(/^1 of \d+ lines/)).toBeVisible();
    await expect(text.locator("mark")).toHaveText("agent started");
    await chosen.getByRole("button", { name: /^Level/ }).click();
    await tech.page.getByRole("menuitemradio", { name: "Errors", exact: true }).click();
    await expect(text).toContainText("No line matches.");
    await chosen.getByRole("button", { name: "Clear search" }).click();

    const download = tech.page.waitForEvent("download");
    await chosen.getByRole("button", { name: "Download" }).click();
    expect((await download).suggestedFilename()).toMatch(/^.+-\d{8}-\d{6}\.log$/);

    await tech.page.reload();
    await expect(text).toContainText("agent started");
  } finally {
    await tech.leave();
  }
  await page.goto("/audit?search=agent.ask_log");
  await expect(page.getByRole("row", { name: /agent\.ask_log/ }).first()).toContainText(
    "Amara Osei",
  );
});

test("whoever only looks reads no logs", async ({ page, browser, agentId }) => {
  const reader = await colleague(page, browser, "read_only");
  try {
    await reader.page.goto(`/agents/${agentId}`);
    await expect(reader.page.getByRole("link", { name: "Policy", exact: true })).toBeVisible();
    await expect(reader.page.getByRole("link", { name: "Log", exact: true })).toHaveCount(0);
    await reader.page.goto(`/agents/${agentId}/log`);
    await expect(reader.page.getByText("does not include this")).toBeVisible();
    await expect(reader.page.getByRole("button", { name: "Get the log" })).toHaveCount(0);
  } finally {
    await reader.leave();
  }
});

test("an agent that was killed is told of without a reload, and its alert leads to its log", async ({
  page,
  agentId,
}) => {
  const { agent } = await (await page.request.get(`/api/v1/agents/${agentId}`)).json();
  const raised = page.getByRole("button", { name: `The agent of ${agent.hostname} crashed` });
  await page.goto(`/agents/${agentId}/log`);
  const get = page.getByRole("button", { name: "Get the log" });
  await expect(get).not.toHaveAttribute("aria-disabled", "true");
  await page.evaluate(() => Object.assign(window, { unreloaded: true }));

  await killAgent();
  try {
    await expect(page.getByText("The machine is offline. Its log can be had")).toBeVisible();
    await expect(get).toHaveAttribute("aria-disabled", "true");
  } finally {
    runAgent(firstAgent());
  }
  await expect(page.getByRole("link", { name: /Ended from outside/ })).toHaveCount(1);
  await expect(get).not.toHaveAttribute("aria-disabled", "true");

  await page.getByRole("link", { name: /^Alerts/ }).click();
  await raised.click();
  const alert = page.getByRole("dialog");
  await expect(alert).toContainText("killed or out of memory");
  await alert.getByRole("link", { name: "Read the log before it" }).click();
  await expect(page).toHaveURL(/log\?crash=/);
  const crash = page.getByRole("article", { name: "Chosen crash" });
  await expect(crash.getByRole("region", { name: "Log" })).toContainText("agent started");
  expect(await page.evaluate(() => "unreloaded" in window)).toBe(true);

  await page.goBack();
  await page.getByRole("dialog").getByRole("button", { name: "Resolve" }).click();
  await expect(raised).toHaveCount(0);
});
