import { expect, signedIn, test } from "./fixtures";
import { OWNER, PARTNER, serverUrl } from "./stack";

const GUEST = {
  name: "Tom Beck",
  email: "tom@example.com",
  password: "a quiet reader of dashboards",
};

test("an invited person accepts, sees, and may only what the role says", async ({
  page,
  browser,
  agentId,
}) => {
  await page.goto("/users");
  await page.getByRole("button", { name: "Invite a user" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Name").fill(GUEST.name);
  await dialog.getByLabel("Email").fill(GUEST.email);
  await dialog.getByLabel("Role").selectOption("read_only");
  await dialog.getByRole("button", { name: "Make invitation" }).click();
  const link = (await dialog.getByText(/\/invite#token=/).textContent()) ?? "";
  await dialog.getByRole("button", { name: "Done" }).click();
  await expect(page.getByRole("row", { name: new RegExp(GUEST.email) })).toContainText("Invited");

  const context = await browser.newContext({
    baseURL: serverUrl(),
    storageState: { cookies: [], origins: [] },
  });
  const guest = await context.newPage();
  await guest.goto(link);
  await expect(guest.getByRole("heading", { name: `Join ${PARTNER}` })).toBeVisible();
  await guest.getByLabel("Password", { exact: true }).fill(GUEST.password);
  await guest.getByLabel("Password again").fill(GUEST.password);
  await guest.getByRole("button", { name: "Create account" }).click();
  await guest.getByLabel("Email").fill(GUEST.email);
  await guest.getByLabel("Password").fill(GUEST.password);
  await guest.getByRole("button", { name: "Sign in" }).click();
  await expect(guest.getByText("of 1 machine online")).toBeVisible();

  const nav = guest.getByRole("navigation", { name: "Main" });
  await expect(nav.getByRole("link", { name: "Agents" })).toBeVisible();
  for (const hidden of ["Users", "Audit log", "Enrollment", "Settings", "System"]) {
    await expect(nav.getByRole("link", { name: hidden })).toHaveCount(0);
  }
  await guest.goto(`/agents/${agentId}/commands`);
  await expect(guest.getByText("does not include this")).toBeVisible();
  await expect(guest.getByRole("button", { name: "Run", exact: true })).toHaveCount(0);
  await expect(guest.getByRole("button", { name: /More actions/ })).toHaveCount(0);

  // The same link does not work twice.
  await guest.goto("about:blank");
  await guest.goto(link);
  await expect(guest.getByText("This invitation cannot be used")).toBeVisible();
  await context.close();
});

test("ending someone's sessions throws her out of an open page", async ({ page, browser }) => {
  const guest = await signedIn(browser, GUEST.email, GUEST.password);
  await page.goto("/users");
  await page.getByRole("button", { name: new RegExp(GUEST.name) }).click();
  await page.getByRole("button", { name: "End all" }).click();
  await expect(guest.getByText("Your session has ended")).toBeVisible();
  await guest.context().close();
});

test("a suspended person cannot sign in", async ({ page, browser }) => {
  await page.goto("/users");
  await page.getByRole("button", { name: new RegExp(GUEST.name) }).click();
  await page.getByRole("button", { name: "Suspend" }).click();
  await expect(page.getByRole("button", { name: "Let in again" })).toBeVisible();
  const context = await browser.newContext({
    baseURL: serverUrl(),
    storageState: { cookies: [], origins: [] },
  });
  const guest = await context.newPage();
  await guest.goto("/sign-in");
  await guest.getByLabel("Email").fill(GUEST.email);
  await guest.getByLabel("Password").fill(GUEST.password);
  await guest.getByRole("button", { name: "Sign in" }).click();
  await expect(guest.getByRole("alert")).toBeVisible();
  await context.close();
});

test("own name and sessions", async ({ page, browser }) => {
  const other = await signedIn(browser, OWNER.email, OWNER.password);
  await page.goto("/profile");
  await expect(page.getByText("this one")).toBeVisible();
  await page.getByRole("button", { name: "End all others" }).click();
  await expect(other.getByText("Your session has ended")).toBeVisible();
  await other.context().close();
  await page.getByLabel("Your name").fill("Maya L.");
  await page.getByRole("button", { name: "Save name" }).click();
  await expect(page.getByRole("button", { name: "Account of Maya L." })).toBeVisible();
  await page.getByLabel("Your name").fill(OWNER.name);
  await page.getByRole("button", { name: "Save name" }).click();
  await expect(page.getByRole("button", { name: `Account of ${OWNER.name}` })).toBeVisible();
});

test("the audit log knows it all, and its chain holds", async ({ page }) => {
  await page.goto("/audit");
  await page.getByRole("searchbox", { name: "Search the audit log" }).fill(GUEST.name);
  await expect(page.locator("tbody tr")).not.toHaveCount(0);
  await page.locator("tbody tr").first().getByRole("button").click();
  await expect(page.getByRole("dialog")).toContainText("Detail");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Verify chain" }).click();
  await expect(page.getByText(/^Intact, \d+/)).toBeVisible();
  await page.getByRole("button", { name: "Export" }).click();
  const download = page.waitForEvent("download");
  await page.getByRole("menuitem", { name: "As CSV" }).click();
  expect((await download).suggestedFilename()).toMatch(/csv/);
});
