// The pictures of the README, from the real server and a real machine: GURURMM_PICTURES=1 npm run e2e -- -g pictures
import { expect, runCommand, test } from "./fixtures";

const FOLDER = "../docs/images";

test.skip(!process.env.GURURMM_PICTURES, "only on request: they would differ with every run");

test("pictures", async ({ page, agentId }) => {
  test.setTimeout(240_000);
  await page.setViewportSize({ width: 1440, height: 900 });
  const run = await runCommand(
    page,
    agentId,
    'echo "Checking disks"; df -h / /tmp; echo; echo "Busiest processes"; ps -eo pid,comm,%cpu --sort=-%cpu | head -8',
  );
  await expect(run).toContainText("Completed");
  await page.screenshot({ path: `${FOLDER}/commands.png`, animations: "disabled" });

  await page.goto(`/agents/${agentId}`);
  // Long enough for the live lines to be lines.
  await expect
    .poll(
      async () =>
        (await page.locator("polyline").first().getAttribute("points"))?.split(" ").length ?? 0,
      {
        timeout: 150_000,
      },
    )
    .toBeGreaterThan(50);
  await page.screenshot({ path: `${FOLDER}/agent.png`, animations: "disabled" });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.screenshot({ path: `${FOLDER}/agent-dark.png`, animations: "disabled" });
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 390, height: 844 });
  await page.screenshot({ path: `${FOLDER}/phone.png`, animations: "disabled" });

  await page.setViewportSize({ width: 1440, height: 900 });
  await page.goto("/");
  await expect(page.getByText("of 1 machine online")).toBeVisible();
  await expect(page.getByRole("status", { name: "Loading" })).toHaveCount(0);
  await page.screenshot({ path: `${FOLDER}/overview.png`, animations: "disabled" });
});
