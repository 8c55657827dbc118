// Every page in every state its lists can be in, at both widths and in both themes, from invented data.
import AxeBuilder from "@axe-core/playwright";
import { expect, type Page, test } from "@playwright/test";
import { ACTS, type DashboardPage, PAGES } from "./pages";
import { ERROR_SENTENCE, PAGE_ROWS, type Situation, type State, standIn } from "./stand-in";

const WIDTHS = [1440, 390];
const THEMES = ["light", "dark"] as const;

/** What a page goes through on one load, by the states of its lists. */
function courses({ parts, empty, many }: DashboardPage): State[][] {
  // Machines are always many.
  const there = many === "drawn" ? "many" : "ordinary";
  return [
    parts ? ["loading", "error", there] : [there],
    ...(empty ? [["empty"] satisfies State[]] : []),
    ...(many && many !== "drawn" ? [["many"] satisfies State[]] : []),
  ];
}

/** Where a list's rows are. */
const rows = (page: Page) => page.locator(":is(main, [role=dialog]) :is(tbody tr, li)");
const loading = (page: Page) => page.getByRole("status", { name: "Loading" });
const failed = (page: Page) => page.getByRole("alert").filter({ hasText: ERROR_SENTENCE });

/** Rows and lines that are like those before them. */
const FURTHER_ROWS = ":is(tbody tr, li, [data-index]):nth-child(n + 8)";

/** What the page's lists say of their state. */
async function saysItsState(page: Page, it: DashboardPage, state: State) {
  const { parts = 0, empty = [], says } = it;
  if (state === "loading") {
    await expect.poll(() => loading(page).count()).toBeGreaterThanOrEqual(parts);
    return;
  }
  if (state === "error") {
    // A request that fails is tried again before the page says so. Its clock does not run away from a page that is slow.
    await expect(async () => {
      await page.clock.runFor(2000);
      await expect(failed(page)).toHaveCount(parts, { timeout: 50 });
    }).toPass({ intervals: [1], timeout: 60_000 });
    await expect(failed(page).getByRole("button", { name: "Try again" })).toHaveCount(parts);
  }
  if (state === "empty") {
    for (const sentence of empty)
      await expect(page.getByText(sentence, { exact: true })).toBeVisible();
  }
  if (state === "ordinary" && says) {
    await expect(page.getByText(says, { exact: true }).first()).toBeVisible();
  }
  await expect(loading(page)).toHaveCount(0);
}

/**
 * At every width it `says` what it must, fits, and is accessible in both themes; in the states that look alike at both
 * widths, each has one of the themes.
 */
async function looksRight(page: Page, says: () => Promise<void>, state: State = "ordinary") {
  const alike = state === "loading" || state === "error";
  for (const [n, width] of WIDTHS.entries()) {
    await page.setViewportSize({ width, height: 900 });
    await says();
    await expect
      .poll(() => page.evaluate(() => document.documentElement.scrollWidth), {
        message: `how wide the page is on ${width} px`,
      })
      .toBeLessThanOrEqual(width);
    for (const colorScheme of alike ? THEMES.slice(n, n + 1) : THEMES) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      // All that passed, with the elements it was seen at, takes longer to write down than to find.
      const axe = new AxeBuilder({ page })
        .options({ resultTypes: ["violations"] })
        .setLegacyMode()
        .exclude(FURTHER_ROWS);
      // In the other theme only the colours differ.
      if (colorScheme === "dark" && !alike) axe.withRules(["color-contrast"]);
      // An open menu stands outside the landmarks.
      else if (await page.getByRole("menu").count()) axe.disableRules(["region"]);
      const { violations } = await axe.analyze();
      const found = violations.flatMap(({ id, nodes }) =>
        nodes.map(({ target, html }) => `${id}: ${target} ${html.slice(0, 160)}`),
      );
      expect(found, `${width} px, ${colorScheme}`).toEqual([]);
    }
  }
}

/** Many rows come page by page, are drawn only where they are seen, or stay few. */
async function staysBounded(page: Page, { many }: DashboardPage) {
  if (many === "few") {
    expect(await rows(page).count()).toBeLessThanOrEqual(PAGE_ROWS);
  } else if (typeof many === "number") {
    const more = page.getByRole("button", { name: "Show more" });
    await expect(more).toHaveCount(many);
    for (let left = many; left > 0; left--) {
      const before = await rows(page).count();
      await more.first().click();
      await expect(more).toHaveCount(left - 1);
      await expect(rows(page)).toHaveCount(before + PAGE_ROWS);
    }
  } else if (many === "grid") {
    const grid = page.locator("main :is([role=grid], [role=treegrid])");
    const last = () => grid.locator("[role=row]").last().getAttribute("aria-rowindex");
    expect(Number(await grid.getAttribute("aria-rowcount"))).toBeGreaterThan(1000);
    await grid.evaluate((element) => element.scrollTo(0, element.scrollHeight));
    await expect.poll(async () => Number(await last())).toBeGreaterThan(1000);
    expect(await grid.locator("[role=row]").count()).toBeLessThan(2 * PAGE_ROWS);
  } else {
    const table = page.locator("table[aria-rowcount]");
    const last = () =>
      rows(page).and(page.locator("[aria-rowindex]")).last().getAttribute("aria-rowindex");
    const first = Number(await last());
    expect(Number(await table.getAttribute("aria-rowcount"))).toBeGreaterThan(3 * PAGE_ROWS);
    await page.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
    await expect.poll(async () => Number(await last())).toBeGreaterThan(first + PAGE_ROWS);
    expect(await table.locator("tbody tr").count()).toBeLessThan(2 * PAGE_ROWS);
  }
}

/** Wherever something failed at once: the first may bring what the others lack. */
async function tryAgain(page: Page) {
  await failed(page)
    .getByRole("button", { name: "Try again" })
    .evaluateAll((buttons) => {
      for (const button of buttons) (button as HTMLElement).click();
    });
  await expect(failed(page)).toHaveCount(0);
}

async function open(page: Page, { path }: DashboardPage, situation: Situation, mayFail: boolean) {
  const errors: string[] = [];
  // Also in the report of a test that fails of something else.
  const note = (error: string) => {
    errors.push(error);
    test.info().annotations.push({ type: "error on the page", description: error });
  };
  page.on("pageerror", (error) => note(error.message));
  page.on("console", (message) => {
    if (message.type() !== "error") return;
    // The browser has a line of its own for each answer that is an error, and may be late with it.
    if (mayFail && message.text().startsWith("Failed to load resource")) return;
    note(message.text());
  });
  const answerHeld = await standIn(page, situation);
  await page.goto(path);
  return { errors, answerHeld };
}

for (const [name, it] of Object.entries(PAGES)) {
  for (const course of courses(it)) {
    test(`${name}, ${course.join(", ")}`, async ({ page }) => {
      const state = course[0] ?? "ordinary";
      const situation: Situation = { state, steady: it.steady, signedIn: it.signedIn };
      const mayFail = Boolean(it.gone) || course.includes("error") || course.includes("empty");
      const { errors, answerHeld } = await open(page, it, situation, mayFail);
      await expect(page.getByRole("heading", { name: it.heading }).first()).toBeVisible();
      for (const state of course) {
        const former = situation.state;
        situation.state = state;
        // Not before: a page that is quick has asked for everything by now.
        if (former === "loading" && state !== "loading") await answerHeld();
        if (former === "error") await tryAgain(page);
        await looksRight(page, () => saysItsState(page, it, state), state);
        if (state === "many") await staysBounded(page, it);
      }
      expect(errors).toEqual([]);
    });
  }
}

for (const [name, it] of Object.entries(ACTS)) {
  test(name, async ({ page }) => {
    const { errors } = await open(page, it, { state: "ordinary" }, Boolean(it.gone));
    await expect(page.getByRole("heading").first()).toBeVisible();
    await it.act(page);
    await looksRight(page, () =>
      expect(page.getByText(it.heading).filter({ visible: true }).first()).toBeVisible(),
    );
    expect(errors).toEqual([]);
  });
}

for (const [name, part, there] of [
  ["session-processes", "processes-tab", "systemd"],
  ["session-terminal", "xterm", "Terminal"],
  ["replay", "xterm", "0:00 of 3:00"],
] as const) {
  test(`${name}: a part that is gone since an upgrade is there when the page is loaded again`, async ({
    page,
  }) => {
    const file = `**/assets/${part}-*.js`;
    await standIn(page, { state: "ordinary" });
    await page.route(file, (route) => route.fulfill({ status: 404 }));
    await page.goto(PAGES[name]?.path ?? name);
    await looksRight(page, () =>
      expect(page.getByRole("heading", { name: "Load this page again" })).toBeVisible(),
    );
    await page.unroute(file);
    await page.getByRole("button", { name: "Load again" }).click();
    await expect(page.getByText(there).first()).toBeVisible();
  });
}
