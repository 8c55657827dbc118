// Everything can be reached, seen and left by keyboard.
import { expect, type Page, test } from "@playwright/test";
import { agents, commands, users } from "./fixtures";
import { PAGES } from "./pages";
import { standIn } from "./stand-in";

const MOST_STOPS = 300;

interface Walk {
  reached: Element[];
  faults: string[];
  /** Begun in the middle, it comes back to the top once. */
  fromMiddle: boolean;
}
declare global {
  interface Window {
    walk?: Walk;
  }
}

/** Notes which element has the focus now. */
function note(): "stop" | "choices" | "round" {
  const element = document.activeElement;
  const nowhere = !element || element === document.body;
  window.walk ??= { reached: [], faults: [], fromMiddle: !nowhere };
  const { reached, faults } = window.walk;
  const former = reached.at(-1);
  // Between the last element and the first, and between the parts of a date.
  if (nowhere || element === former) return "stop";
  if (reached.includes(element)) return "round";
  const name = `${element.tagName} ${element.getAttribute("aria-label") ?? element.textContent}`;
  const { outlineStyle, outlineWidth, outlineColor } = getComputedStyle(element);
  if (outlineStyle === "none" || outlineWidth === "0px" || /, 0\)$/.test(outlineColor)) {
    faults.push(`without a ring: ${name}`);
  }
  const { left, top, width, height } = element.getBoundingClientRect();
  const seen = document.elementFromPoint(left + width / 2, top + height / 2);
  if (!seen || !(element.contains(seen) || seen.contains(element))) {
    faults.push(`out of sight: ${name}`);
  }
  if (former && !(former.compareDocumentPosition(element) & Node.DOCUMENT_POSITION_FOLLOWING)) {
    if (!window.walk.fromMiddle) faults.push(`out of order: ${name}`);
    window.walk.fromMiddle = false;
  }
  reached.push(element);
  return element.matches("[role=radio]") ? "choices" : "stop";
}

/** What can be used but was not reached, besides what was wrong on the way. */
function faults(): string[] {
  const { reached = [], faults = [] } = window.walk ?? {};
  // A dialog keeps the focus.
  const within = document.querySelector("[role=dialog]") ?? document;
  const usable = within.querySelectorAll<HTMLElement>(
    "a[href], button, input, select, textarea, summary, [tabindex]",
  );
  const missed = [...usable].filter(
    (element) =>
      element.checkVisibility({ visibilityProperty: true }) &&
      (element.tabIndex >= 0 || element.matches("[role=radio]")) &&
      // A group hands the focus to its choices.
      !element.matches(":disabled, [aria-hidden=true], [role=group], [role=radiogroup]") &&
      !reached.includes(element),
  );
  return [...faults, ...missed.map((element) => `not reached: ${element.outerHTML.slice(0, 160)}`)];
}

/** Goes once round the page with Tab, and through the choices of a group with the arrows. */
async function walk(page: Page) {
  await page.evaluate(note);
  for (let n = 0; n < MOST_STOPS; n++) {
    await page.keyboard.press("Tab");
    let found = await page.evaluate(note);
    if (found === "round") return page.evaluate(faults);
    while (found === "choices") {
      await page.keyboard.press("ArrowRight");
      await page.waitForFunction(() => document.activeElement !== window.walk?.reached.at(-1));
      found = await page.evaluate(note);
    }
  }
  return [`still not round after ${MOST_STOPS} stops`];
}

// The same page stands there more than once, in states that do not matter here.
const distinct = new Map(Object.entries(PAGES).map(([name, it]) => [it.path, { name, it }]));
for (const { name, it } of distinct.values()) {
  for (const width of [1440, 390]) {
    test(`${name} is walked by keyboard, ${width} px`, async ({ page }) => {
      await page.setViewportSize({ width, height: 900 });
      // Of machines there are more than anyone walks through.
      const state = it.many === "drawn" ? "first-day" : "ordinary";
      await standIn(page, { state, signedIn: it.signedIn });
      await page.goto(it.path);
      await expect(page.getByRole("heading").first()).toBeVisible();
      await expect(page.getByRole("status", { name: "Loading" })).toHaveCount(0);
      expect(await walk(page)).toEqual([]);
    });
  }
}

const agent = agents[0];
const client = agents[0]?.client_id;
const site = agents[0]?.site_id;

/** What opens by which buttons, one after the other. */
const OPENING: readonly { path: string; by: (string | RegExp)[]; width?: number }[] = [
  { path: "/", by: ["Open navigation"], width: 390 },
  { path: "/", by: [/^Search or jump to/] },
  { path: "/", by: [/^Account of/] },
  { path: "/", by: [/^Partner .* switch$/] },
  { path: "/agents", by: ["Columns"] },
  { path: "/agents", by: ["Status: Any status"] },
  { path: `/agents/${agent?.id}`, by: [/^CPU/] },
  { path: `/agents/${agent?.id}`, by: [/^More actions/, "Delete agent"] },
  { path: `/agents/${agent?.id}/log`, by: [/^Level/] },
  { path: "/clients", by: ["Add client"] },
  { path: `/clients/${client}`, by: ["Add site"] },
  { path: `/sites/${site}`, by: [/^More actions/, "Rename"] },
  { path: `/enrollment?site_id=${site}`, by: ["Make an install command"] },
  { path: `/enrollment?site_id=${site}`, by: ["Rotate the standing key"] },
  { path: "/commands", by: [commands[0]?.command ?? ""] },
  { path: "/alerts", by: ["Two live machines share one identity"] },
  { path: "/alerts", by: ["The agent of acm-ws-001 crashed"] },
  { path: "/users", by: ["Invite a user"] },
  { path: "/users", by: [users[1]?.name ?? ""] },
  { path: "/audit", by: ["Export"] },
  { path: "/audit", by: ["command.created"] },
  { path: "/system", by: ["Add partner"] },
];

for (const { path, by, width = 1440 } of OPENING) {
  test(`Escape leaves what ${by.join(", ")} opens on ${path}`, async ({ page }) => {
    await page.setViewportSize({ width, height: 900 });
    await standIn(page, { state: "ordinary" });
    await page.goto(path);
    const opener = page.getByRole("button", { name: by[0] }).first();
    await opener.focus();
    await page.keyboard.press("Enter");
    const opened = page
      .locator("[role=dialog], [role=alertdialog], [role=menu]")
      .filter({ visible: true });
    for (const name of by.slice(1)) {
      await page.getByRole("menuitem", { name }).focus();
      await page.keyboard.press("Enter");
    }
    await expect(opened).toHaveCount(1);
    const holdsFocus = () => opened.evaluate((it) => it.contains(document.activeElement));
    await expect.poll(holdsFocus).toBe(true);
    for (let n = 0; n < 12 && (await opened.getAttribute("role")) !== "menu"; n++) {
      await page.keyboard.press("Tab");
      expect(await holdsFocus()).toBe(true);
    }
    await page.keyboard.press("Escape");
    await expect(opened).toHaveCount(0);
    await expect(opener).toBeFocused();
  });
}

test("the palette comes over anything and gives the focus back", async ({ page }) => {
  await standIn(page, { state: "ordinary" });
  await page.goto("/agents");
  const search = page.getByRole("searchbox", { name: "Search agents" });
  await search.focus();
  await page.keyboard.press("Control+k");
  await expect(page.getByRole("combobox", { name: "Search or jump to" })).toBeFocused();
  await page.keyboard.press("Escape");
  await expect(search).toBeFocused();
});

test("the first stop skips the navigation", async ({ page }) => {
  await standIn(page, { state: "ordinary" });
  await page.goto("/alerts");
  await expect(page.getByRole("heading", { name: "Alerts" })).toBeVisible();
  await page.keyboard.press("Tab");
  const skip = page.getByRole("link", { name: "Skip to content" });
  await expect(skip).toBeFocused();
  await expect(skip).toBeInViewport({ ratio: 1 });
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await expect(page.getByRole("main").locator(":focus")).toBeVisible();
});
