import AxeBuilder from "@axe-core/playwright";
import type { Page } from "@playwright/test";
import { expect, test } from "./fixtures";
import { firstSite, serverUrl } from "./stack";

const PATHS = (agentId: string, siteId: string) => [
  "/",
  "/agents",
  `/agents/${agentId}`,
  `/agents/${agentId}/commands`,
  `/agents/${agentId}/details`,
  `/agents/${agentId}/policy`,
  `/agents/${agentId}/log`,
  "/commands",
  "/alerts",
  "/clients",
  `/sites/${siteId}`,
  `/sites/${siteId}?tab=policy`,
  `/enrollment?site_id=${siteId}`,
  "/approvals",
  "/users",
  "/audit",
  "/profile",
  "/settings",
  "/system",
];

function watchErrors(page: Page): string[] {
  const errors: string[] = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(message.text());
  });
  return errors;
}

async function settled(page: Page) {
  await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
  await expect(page.getByRole("status", { name: "Loading" })).toHaveCount(0);
}

/** All rules in the light theme; in the dark one only the colours differ. */
async function violations(page: Page, colorScheme: "light" | "dark") {
  await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
  const axe = new AxeBuilder({ page });
  if (colorScheme === "dark") axe.withRules(["color-contrast"]);
  const { violations } = await axe.analyze();
  return violations.map(
    ({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target).join(", ")}`,
  );
}

const WIDE = { width: 1440, height: 900 };
const PHONE = { width: 390, height: 844 };

test("every page is accessible in both themes, fits a phone, and is free of errors", async ({
  page,
  agentId,
}) => {
  test.setTimeout(150_000);
  const errors = watchErrors(page);
  for (const path of PATHS(agentId, firstSite().siteId)) {
    await test.step(path, async () => {
      await page.goto(path);
      await settled(page);
      for (const colorScheme of ["light", "dark"] as const) {
        expect(await violations(page, colorScheme), `${path}, ${colorScheme}`).toEqual([]);
      }
      await page.setViewportSize(PHONE);
      const width = () => page.evaluate(() => document.documentElement.scrollWidth);
      await expect.poll(width, { message: path }).toBeLessThanOrEqual(PHONE.width);
      await page.setViewportSize(WIDE);
    });
  }
  expect(errors).toEqual([]);
});

test("dialogs and menus are accessible in both themes", async ({ page, agentId }) => {
  const both = async () => {
    for (const colorScheme of ["light", "dark"] as const) {
      expect(await violations(page, colorScheme), colorScheme).toEqual([]);
    }
  };
  await page.goto(`/agents/${agentId}`);
  await settled(page);
  await page.getByRole("button", { name: /^CPU/ }).click();
  await expect(page.getByRole("dialog").locator("tbody tr")).not.toHaveCount(0);
  await both();
  await page.keyboard.press("Escape");
  await page.keyboard.press("Control+k");
  await expect(page.getByRole("option").first()).toBeVisible();
  await both();
  await page.goto("/users?invite=true");
  await expect(page.getByRole("dialog")).toBeVisible();
  await both();
});

test("a phone finds its way by the drawer", async ({ page }) => {
  await page.setViewportSize(PHONE);
  await page.goto("/");
  await settled(page);
  await page.getByRole("button", { name: "Open navigation" }).click();
  await page.getByRole("dialog").getByRole("link", { name: "Agents" }).click();
  await expect(page.getByRole("heading", { name: "Agents", level: 1 })).toBeVisible();
  await expect(page.getByRole("dialog")).toBeHidden();
});

test("the theme is kept", async ({ page }) => {
  await page.goto("/profile");
  await page.getByRole("radio", { name: "Dark" }).click();
  await page.reload();
  await expect(page.locator("html")).toHaveAttribute("data-theme", "dark");
  await page.getByRole("radio", { name: "As the system" }).click();
  await expect(page.locator("html")).not.toHaveAttribute("data-theme", /.*/);
});

test("nothing is fetched from anywhere else, and nothing inline runs", async ({
  page,
  agentId,
}) => {
  const foreign: string[] = [];
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== serverUrl()) foreign.push(request.url());
  });
  const answer = await page.goto("/");
  const policy = answer?.headers()["content-security-policy"] ?? "";
  expect(policy).toContain("script-src 'self'");
  expect(policy).not.toContain("unsafe-eval");
  await page.goto(`/agents/${agentId}`);
  await settled(page);
  expect(foreign).toEqual([]);
});

test("pages and scripts come compressed and are kept", async ({ page }) => {
  const answers: { url: string; encoding?: string; caching?: string }[] = [];
  page.on("response", (response) => {
    const headers = response.headers();
    const { "content-encoding": encoding, "cache-control": caching } = headers;
    answers.push({ url: new URL(response.url()).pathname, encoding, caching });
  });
  await page.goto("/");
  await settled(page);
  expect(answers[0]).toEqual({ url: "/", encoding: "br", caching: "no-cache" });
  const scripts = answers.filter(({ url }) => url.endsWith(".js") || url.endsWith(".css"));
  expect(scripts.length).toBeGreaterThan(1);
  for (const { url, caching } of scripts) {
    expect(caching, url).toContain("immutable");
  }
  const main = scripts.find(({ url }) => /\/index-[^/]+\.js$/.test(url));
  expect(main?.encoding).toBe("br");
});
