import { writeFileSync } from "node:fs";
import { expect, test } from "@playwright/test";
import {
  CLIENT,
  enrollAgent,
  OWNER,
  ownerState,
  PARTNER,
  runAgent,
  SITE,
  serverUrl,
  setupLink,
  siteFile,
} from "./stack";

test("the printed link leads through setup to the first machine", async ({ page, context }) => {
  await page.goto(setupLink());
  await page.getByLabel("Your name").fill(OWNER.name);
  await page.getByLabel("Email").fill(OWNER.email);
  await page.getByLabel("Password", { exact: true }).fill(OWNER.password);
  await page.getByLabel("Password again").fill("something else entirely");
  await page.getByRole("button", { name: "Continue" }).click();
  await expect(page.getByText("The two passwords differ.")).toBeVisible();
  await page.getByLabel("Password again").fill(OWNER.password);
  await page.getByRole("button", { name: "Continue" }).click();

  await page.getByLabel("Your company").fill(PARTNER);
  await page.getByLabel("First client").fill(CLIENT);
  await page.getByLabel("First site").fill(SITE);
  await page.getByRole("button", { name: "Finish setup" }).click();
  await expect(page.getByRole("heading", { name: `${PARTNER} is ready` })).toBeVisible();
  expect(page.url()).not.toContain("token");

  await expect(page.getByText(/install\/linux\.sh/)).toBeVisible();
  await page.getByText("Enroll by hand").click();
  await expect(page.getByText(/Enrollment key v1 \([0-9A-F]{4}\)/)).toBeVisible();
  const key = (await page.getByText(/^gek_/).textContent()) ?? "";
  const code = /--site (\S+)/.exec(
    (await page.getByText(/^gururmm-agent enroll/).textContent()) ?? "",
  )?.[1];
  if (!code) throw new Error("the page names no site code");

  await expect(page.getByText("Waiting for the machine.")).toBeVisible();
  runAgent(enrollAgent("agent", { code, key }));
  await expect(page.getByRole("link", { name: "Open", exact: true })).toBeVisible();

  await context.storageState({ path: ownerState() });
  const tree = await (await page.request.get(`${serverUrl()}/api/v1/tree`)).json();
  writeFileSync(siteFile(), JSON.stringify({ code, key, siteId: tree.clients[0].sites[0].id }));

  await page.getByRole("link", { name: "Open the dashboard" }).click();
  await expect(page.getByText("of 1 machine online")).toBeVisible();
});

test("afterwards the link leads nowhere", async ({ page }) => {
  const answer = await page.goto(setupLink());
  expect(answer?.status()).toBe(404);
});
