import type { WebSocketRoute } from "@playwright/test";
import { expect, test } from "./fixtures";

test("live figures arrive while someone looks", async ({ page, agentId }) => {
  const samples: number[] = [];
  page.on("websocket", (socket) =>
    socket.on("framereceived", ({ payload }) => {
      if (String(payload).includes('"type":"metrics"')) samples.push(Date.now());
    }),
  );
  await page.goto(`/agents/${agentId}`);
  await expect(page.getByRole("button", { name: /^CPU/ })).toBeVisible();
  await expect.poll(() => samples.length, { timeout: 15_000 }).toBeGreaterThanOrEqual(4);
  const [first = 0, , , fourth = 0] = samples;
  expect(fourth - first).toBeLessThan(9_000);
  // Two points make a line.
  await expect(page.locator("polyline")).not.toHaveCount(0);
});

test("a gauge opens what was behind it", async ({ page, agentId }) => {
  await page.goto(`/agents/${agentId}`);
  await page.getByRole("button", { name: /^CPU/ }).click();
  const sheet = page.getByRole("dialog");
  await expect(sheet.getByRole("columnheader", { name: "Process" })).toBeVisible();
  await expect(sheet.locator("tbody tr")).not.toHaveCount(0);
  await sheet.getByRole("radio", { name: "By memory" }).click();
  await expect(sheet.locator("tbody tr")).not.toHaveCount(0);
  await sheet.getByRole("radio", { name: "Disks" }).click();
  await expect(sheet.getByRole("columnheader", { name: "Mounted at" })).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(sheet).toBeHidden();
});

test("the history draws, and a moment of it opens by click and by keyboard", async ({
  page,
  agentId,
}) => {
  await page.goto(`/agents/${agentId}`);
  const chart = page.getByRole("group", { name: /^Load:/ });
  await expect(chart.locator("canvas")).toBeVisible({ timeout: 30_000 });
  await chart.focus();
  await page.keyboard.press("End");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("dialog")).toContainText("Around");
  await expect(
    page.getByRole("dialog").getByRole("columnheader", { name: "Process" }),
  ).toBeVisible();
  await page.keyboard.press("Escape");

  const box = await chart.locator(".u-over").boundingBox();
  if (!box) throw new Error("the chart is not on the screen");
  await page.mouse.move(box.x + box.width * 0.3, box.y + 40);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.9, box.y + 40, { steps: 5 });
  await page.mouse.up();
  await expect(page).toHaveURL(/from=.*to=/);
  await page.getByRole("button", { name: "Zoom out" }).click();
  await expect(page).not.toHaveURL(/from=/);
});

test("details and policy say what is known and where it came from", async ({ page, agentId }) => {
  await page.goto(`/agents/${agentId}/details`);
  await expect(page.getByRole("heading", { name: "Network" })).toBeVisible();
  await expect(page.getByText(agentId)).toBeVisible();

  await page.goto(`/agents/${agentId}/policy`);
  const row = page.getByRole("row", { name: /Metrics every/ });
  await expect(row).toContainText("Built-in default");
  await page.getByLabel("Metrics every").fill("45");
  await page.getByRole("button", { name: "Save policy" }).click();
  await expect(row).toContainText("45 s");
  await expect(row).toContainText("This agent");
  await page.getByLabel("Metrics every").fill("");
  await page.getByRole("button", { name: "Save policy" }).click();
  await expect(row).toContainText("Built-in default");
});

test("the list keeps its filter in the address and its columns in the browser", async ({
  page,
}) => {
  await page.goto("/agents");
  await expect(page.getByText("1 agent", { exact: true })).toBeVisible();
  await page.getByRole("button", { name: "Columns" }).click();
  await page.getByRole("menuitemcheckbox", { name: "Agent version" }).click();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("columnheader", { name: "Agent version" })).toBeVisible();
  await page.getByRole("button", { name: "Status: Any status" }).click();
  await page.getByRole("menuitemradio", { name: "Offline" }).click();
  await expect(page).toHaveURL(/status=offline/);
  await expect(page.getByText("No agent matches")).toBeVisible();
  await page.reload();
  await expect(page.getByText("No agent matches")).toBeVisible();
  await page.getByRole("button", { name: "Clear", exact: true }).click();
  await expect(page.getByRole("columnheader", { name: "Agent version" })).toBeVisible();
});

test("the palette finds a machine with the keyboard alone", async ({ page, agentId }) => {
  await page.goto("/");
  await expect(page.getByText("of 1 machine online")).toBeVisible();
  const { agent } = await (await page.request.get(`/api/v1/agents/${agentId}`)).json();
  await page.keyboard.press("Control+k");
  await page.keyboard.type(agent.hostname.slice(0, 6));
  await expect(page.getByRole("option", { name: new RegExp(agent.hostname) })).toBeVisible();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: agent.hostname, exact: true })).toBeVisible();
  await page.keyboard.press("Control+k");
  await page.keyboard.type("audit");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "Audit log" })).toBeVisible();
});

test("a lost live link is said, and found again by itself", async ({ page, agentId }) => {
  let reachable = true;
  let current: WebSocketRoute | undefined;
  await page.routeWebSocket("**/api/v1/live", (socket) => {
    if (!reachable) return socket.close({ code: 1011 });
    socket.connectToServer();
    current = socket;
  });
  await page.goto(`/agents/${agentId}`);
  const indicator = page.getByRole("button", { name: /^(Live|Connecting|Reconnecting)$/ });
  await expect(indicator).toHaveText("Live");
  reachable = false;
  await current?.close({ code: 1011 });
  await expect(indicator).toHaveText("Reconnecting");
  reachable = true;
  const refetched = page.waitForResponse(`**/api/v1/agents/${agentId}`);
  await expect(indicator).toHaveText("Live", { timeout: 20_000 });
  await refetched;
});
