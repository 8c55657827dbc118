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
  // A terminal shows by its cursor that the keys are its own.
  if (element.matches(".xterm *")) {
    reached.push(element);
    return "stop";
  }
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

/** Back to the top, where a page that has just come begins. */
function startOver() {
  window.walk = undefined;
  if (document.querySelector("[role=dialog]")) return;
  document.body.tabIndex = -1;
  document.body.focus();
  document.body.removeAttribute("tabindex");
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

/** Goes once round the page with Tab, and through the choices of a group with the arrows. A terminal has a way out of its own. */
async function walk(page: Page) {
  await page.evaluate(note);
  for (let n = 0; n < MOST_STOPS; n++) {
    const isTyping = await page.evaluate(() => document.activeElement?.closest(".xterm") !== null);
    if (isTyping) {
      await page.keyboard.press("Control+Shift+X");
      return page.evaluate(faults);
    }
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

// The same page stands there more than once; the first time as it usually is.
const distinct = new Map(
  Object.entries(PAGES)
    .reverse()
    .map(([name, it]) => [it.path, { name, it }]),
);
for (const { name, it } of distinct.values()) {
  test(`${name} is walked by keyboard`, async ({ page }) => {
    // Of machines there are more than anyone walks through.
    const state = it.many === "drawn" ? "first-day" : "ordinary";
    await standIn(page, { state, signedIn: it.signedIn });
    await page.goto(it.path);
    await expect(page.getByRole("heading", { name: it.heading }).first()).toBeVisible();
    for (const width of [1440, 390]) {
      await page.setViewportSize({ width, height: 900 });
      await expect(page.getByRole("status", { name: "Loading" })).toHaveCount(0);
      await page.evaluate(startOver);
      // Of what had the focus last.
      await expect(page.getByRole("tooltip")).toHaveCount(0);
      expect(await walk(page), `${width} px`).toEqual([]);
    }
  });
}

const agent = agents[0];
const client = agents[0]?.client_id;
const site = agents[0]?.site_id;

/** What opens by which buttons, one after the other. */
type Opening = readonly (string | RegExp)[];

/** What opens on a page. */
const OPENING: readonly { path: string; width?: number; each: readonly Opening[] }[] = [
  { path: "/", width: 390, each: [["Open navigation"]] },
  { path: "/", each: [[/^Search or jump to/], [/^Account of/], [/^Partner .* switch$/]] },
  { path: "/agents", each: [["Columns"], ["Status: Any status"]] },
  {
    path: `/agents/${agent?.id}`,
    each: [
      [/^CPU/],
      [/^More actions/, "Delete agent"],
      [/^More actions/, "Merge another record into it"],
      [/^More actions/, "Retire"],
    ],
  },
  { path: `/agents/${agent?.id}/log`, each: [[/^Level/]] },
  { path: "/updates", each: [["Take back: 0.5.0"], ["Retire 1.0"]] },
  { path: `/agents/${agents[1]?.id}/updates`, each: [["Roll back"]] },
  { path: "/clients", each: [["Add client"]] },
  { path: `/clients/${client}`, each: [["Add site"]] },
  { path: `/sites/${site}`, each: [[/^More actions/, "Rename"]] },
  {
    path: `/enrollment?site_id=${site}`,
    each: [["Rotate"]],
  },
  { path: "/approvals", each: [[/^Reject: /]] },
  { path: "/commands", each: [[commands[0]?.command ?? ""]] },
  {
    path: "/alerts",
    each: [["Two live machines share one identity"], ["The agent of acm-ws-001 crashed"]],
  },
  { path: "/users", each: [["Invite a user"], [users[1]?.name ?? ""]] },
  { path: "/audit", each: [["Export"], ["command.created"]] },
  { path: "/system", each: [["Add partner"]] },
];

async function escapeLeaves(page: Page, by: Opening) {
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
}

for (const { path, width = 1440, each } of OPENING) {
  test(`Escape leaves what opens on ${path}, ${width} px`, async ({ page }) => {
    await page.setViewportSize({ width, height: 900 });
    await standIn(page, { state: "ordinary" });
    await page.goto(path);
    for (const by of each) {
      await test.step(by.join(", "), () => escapeLeaves(page, by));
    }
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

test("going back, the focus is not under the bar at the top", async ({ page }) => {
  await page.setViewportSize({ width: 390, height: 900 });
  await standIn(page, { state: "ordinary" });
  await page.goto("/");
  const links = page.getByRole("main").getByRole("link");
  await expect(page.getByRole("status", { name: "Loading" })).toHaveCount(0);
  await links.last().focus();
  const covered: string[] = [];
  for (let left = await links.count(); left > 1; left--) {
    await page.keyboard.press("Shift+Tab");
    const name = await page.evaluate(() => {
      const element = document.activeElement;
      if (!element?.closest("main")) return null;
      const { left, top } = element.getBoundingClientRect();
      const seen = document.elementFromPoint(left + 4, top + 4);
      return seen?.closest("header.sticky") ? element.textContent : null;
    });
    if (name) covered.push(name);
  }
  expect(covered).toEqual([]);
});
