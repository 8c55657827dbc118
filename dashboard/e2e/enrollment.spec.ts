import { expect, test } from "./fixtures";
import { CLIENT, enrollAgent, firstSite, SITE } from "./stack";

// No second try: what these guard may not break now and then.
test.describe.configure({ retries: 0 });

test("rotating a key reveals the new one once and refuses the old one", async ({ page }) => {
  const { code, key, siteId } = firstSite();
  await page.goto(`/enrollment?site_id=${siteId}`);
  await expect(page.getByLabel("Site")).toHaveValue(siteId);
  const former = page.getByRole("row", { name: /v1 \([0-9A-F]{4}\)/ });
  await expect(former).toContainText("Active");
  await former.getByRole("button", { name: "Rotate" }).click();
  await page.getByRole("alertdialog").getByRole("button", { name: "Rotate key" }).click();
  await expect(page.getByRole("alertdialog")).toBeHidden();

  await page.getByText("Enroll by hand").click();
  const secret = await page.getByText(/^gek_/).textContent();
  expect(secret).not.toBe(key);
  await expect(page.getByRole("row", { name: /v2 \([0-9A-F]{4}\)/ })).toContainText("Active");
  await expect(former).toContainText("Revoked");
  expect(() => enrollAgent("late", { code, key })).toThrow();

  await page.reload();
  await expect(page.getByRole("row", { name: /v2/ })).toBeVisible();
  await expect(page.getByText(/^gek_/)).toHaveCount(0);
});

test("a deployment token is bounded and can be revoked", async ({ page, context }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.goto(`/enrollment?site_id=${firstSite().siteId}`);
  await page.getByRole("radio", { name: "Linux" }).click();
  await page.getByLabel(/Machines/).fill("3");
  await page.getByLabel(/Note/).fill("Rollout");
  await page.getByRole("button", { name: "Make an install command" }).click();
  await page.getByRole("button", { name: "Copy command" }).first().click();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toContain("/install/linux.sh");

  const row = page.getByRole("row", { name: /Rollout/ });
  await expect(row).toContainText("0 of 3");
  await row.getByRole("button", { name: "Revoke" }).click();
  await page.getByRole("alertdialog").getByRole("button", { name: "Revoke key" }).click();
  await expect(row).toContainText("Revoked");
});

test("clients and sites can be made, renamed and removed", async ({ page }) => {
  await page.goto("/clients");
  await expect(page.getByRole("main").getByRole("link", { name: CLIENT })).toBeVisible();
  await expect(page.getByRole("main").getByRole("link", { name: SITE })).toBeVisible();
  await page.getByRole("button", { name: "Add client" }).click();
  await page.getByLabel("Name").fill("Bakery Sonnenschein");
  await page.getByRole("dialog").getByRole("button", { name: "Add client" }).click();
  await expect(page.getByRole("heading", { name: "Bakery Sonnenschein" })).toBeVisible();
  await page.getByRole("button", { name: "Add site" }).first().click();
  await page.getByLabel("Name").fill("Bakehouse");
  await page.getByRole("dialog").getByRole("button", { name: "Add site" }).click();
  await expect(page.getByRole("heading", { name: "Bakehouse" })).toBeVisible();
  await page.getByRole("button", { name: /More actions/ }).click();
  await page.getByRole("menuitem", { name: "Delete site" }).click();
  await page.getByRole("alertdialog").getByRole("button", { name: "Delete site" }).click();
  await expect(page.getByRole("heading", { name: "Bakery Sonnenschein" })).toBeVisible();
  await page.getByRole("button", { name: /More actions/ }).click();
  await page.getByRole("menuitem", { name: "Delete client" }).click();
  await page.getByRole("alertdialog").getByRole("button", { name: "Delete client" }).click();
  await expect(page.getByRole("heading", { name: "Clients and sites" })).toBeVisible();
  await expect(
    page.getByRole("main").getByRole("link", { name: "Bakery Sonnenschein" }),
  ).toHaveCount(0);
});
