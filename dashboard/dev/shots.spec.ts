// Pictures of every page from invented data, for looking at: `npm run shots`. SHOTS names the pages, STATE (loading,
// empty, error, many, first-day) the state their lists are in, WIDTHS and SCHEMES what else to leave out.
import { test } from "@playwright/test";
import { ACTS, PAGES } from "./pages";
import { type State, standIn } from "./stand-in";

const OUT = "test-results/shots";
const state = (process.env.STATE ?? "ordinary") as State;
const suffix = state === "ordinary" ? "" : `-${state}`;

const among = <T>(all: readonly T[], chosen: string | undefined) =>
  all.filter((one) => !chosen || chosen.split(",").includes(String(one)));

for (const width of among([1440, 390], process.env.WIDTHS)) {
  for (const colorScheme of among(["light", "dark"] as const, process.env.SCHEMES)) {
    test.describe(`${width} ${colorScheme}`, () => {
      test.use({ viewport: { width, height: width === 390 ? 844 : 900 }, colorScheme });
      for (const name of among(Object.keys({ ...PAGES, ...ACTS }), process.env.SHOTS)) {
        const shown = PAGES[name] ?? ACTS[name];
        if (!shown) continue;
        test(name, async ({ page }) => {
          await standIn(page, { state, steady: shown.steady, signedIn: shown.signedIn });
          await page.goto(shown.path);
          await page.getByRole("heading").first().waitFor();
          await ACTS[name]?.act(page);
          await page.getByText(shown.heading).filter({ visible: true }).first().waitFor();
          // A request that fails is tried again before the page says so.
          for (let n = 0; state === "error" && n < 8; n++) await page.clock.runFor(4000);
          if (state !== "loading") {
            await page
              .getByRole("status", { name: "Loading" })
              .first()
              .waitFor({ state: "hidden" });
          }
          await page.clock.runFor(1500);
          await page.screenshot({
            animations: "disabled",
            path: `${OUT}/${name}${suffix}-${width}-${colorScheme}.png`,
            fullPage:
              !name.includes("detail") &&
              name !== "agents" &&
              !(name in ACTS && !name.startsWith("setup")),
          });
        });
      }
    });
  }
}
