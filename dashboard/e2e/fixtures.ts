import { type Browser, test as base, expect, type Page } from "@playwright/test";
import { Link } from "./link";
import { ownerState, serverUrl } from "./stack";

/** Tests as the owner whom the wizard made. */
export const test = base.extend<{ agentId: string; link: Link }>({
  // biome-ignore lint/correctness/noEmptyPattern: Playwright reads a fixture's needs from this pattern
  baseURL: async ({}, use) => use(serverUrl()),
  // biome-ignore lint/correctness/noEmptyPattern: Playwright reads a fixture's needs from this pattern
  storageState: async ({}, use) => use(ownerState()),
  agentId: async ({ page }, use) => {
    const answer = await page.request.get("/api/v1/agents?status=online&sort=hostname");
    const { items } = (await answer.json()) as { items: { id: string }[] };
    const id = items[0]?.id;
    if (!id) throw new Error("no agent is online");
    await use(id);
  },
  // biome-ignore lint/correctness/noEmptyPattern: Playwright reads a fixture's needs from this pattern
  link: async ({}, use) => {
    const link = await Link.open(serverUrl());
    await use(link);
    await link.close();
  },
});

export { expect };

/** A page of someone else, signed in by hand. */
export async function signedIn(browser: Browser, email: string, password: string): Promise<Page> {
  const context = await browser.newContext({
    baseURL: serverUrl(),
    storageState: { cookies: [], origins: [] },
  });
  const page = await context.newPage();
  await page.goto("/sign-in");
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByRole("heading", { name: "Overview" })).toBeVisible();
  return page;
}

/** Runs a command from the agent's page and leaves the page there. */
export async function runCommand(page: Page, agentId: string, command: string) {
  await page.goto(`/agents/${agentId}/commands`);
  await page.getByLabel("Command", { exact: true }).fill(command);
  await page.getByRole("button", { name: "Run", exact: true }).click();
  return page.getByRole("article", { name: "Chosen run" });
}
