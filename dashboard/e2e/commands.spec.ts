import { existsSync, readdirSync } from "node:fs";
import { expect, runCommand, test } from "./fixtures";

// No second try: what these guard may not break now and then.
test.describe.configure({ retries: 0 });

test("output streams into the page while the command runs", async ({ page, agentId }) => {
  const run = await runCommand(
    page,
    agentId,
    'for n in 1 2 3 4 5 6; do echo "tick-$n"; sleep 0.7; done; echo careful >&2',
  );
  const output = run.getByRole("log", { name: "Output" });
  await expect(output).toContainText("tick-1");
  await expect(run).toContainText("Running");
  await expect(output).not.toContainText("tick-6");
  await expect(output).toContainText("tick-6");
  await expect(output).toContainText("careful");
  await expect(run).toContainText("Completed");
  await expect(run).toContainText("exit code 0");
  await page.reload();
  await expect(output).toContainText("tick-1");
  await expect(output).toContainText("careful");
});

test("a command can be cancelled, its children too", async ({ page, agentId }) => {
  const run = await runCommand(page, agentId, "echo started; sleep 300 & sleep 300; echo never");
  await expect(run.getByRole("log")).toContainText("started");
  await run.getByRole("button", { name: "Cancel" }).click();
  await expect(run).toContainText("Cancelled");
  await expect(run.getByRole("log")).not.toContainText("never");
  await expect(run.getByRole("button", { name: "Cancel" })).toBeHidden();
});

test("failure, time limit and options are shown as they are", async ({ page, agentId }) => {
  const failed = await runCommand(page, agentId, "exit 3");
  await expect(failed).toContainText("Failed");
  await expect(failed).toContainText("exit code 3");

  await page.getByRole("button", { name: "Options" }).click();
  await page.getByLabel("Time limit in seconds").fill("1");
  await page.getByLabel("Environment").fill("GREETING=hello there");
  await page.getByLabel("Command", { exact: true }).fill('echo "$GREETING"; sleep 30');
  await page.getByRole("button", { name: "Run", exact: true }).click();
  const run = page.getByRole("article", { name: "Chosen run" });
  await expect(run.getByRole("log")).toContainText("hello there");
  await expect(run).toContainText("Timed out");
});

const SESSIONS = "/run/systemd/sessions";

test("a command for the user's session says when nobody is signed in", async ({
  page,
  agentId,
}) => {
  test.skip(existsSync(SESSIONS) && readdirSync(SESSIONS).length > 0, "somebody is signed in here");
  await page.goto(`/agents/${agentId}/commands`);
  await page.getByRole("button", { name: "Options" }).click();
  await page.getByLabel("Elevated").click();
  await page.getByLabel("In the user's session").click();
  await expect(page.getByLabel("Elevated")).toBeDisabled();
  await expect(page.getByLabel("Elevated")).not.toBeChecked();
  await page.getByLabel("Command", { exact: true }).fill("id -un");
  await page.getByRole("button", { name: "Run", exact: true }).click();
  const run = page.getByRole("article", { name: "Chosen run" });
  await expect(run).toContainText("Nobody is signed in at the machine");
  await expect(run).toContainText("in the user's session");
});

test("ten thousand lines stay usable", async ({ page, agentId }) => {
  const run = await runCommand(page, agentId, "seq 1 100000");
  await expect(run).toContainText("Completed");
  await expect(run.getByRole("log")).toContainText("100000");
  expect(await run.getByRole("log").locator("div > div").count()).toBeLessThan(200);
});

test("the history lists everything that was run", async ({ page }) => {
  await page.goto("/commands");
  await expect(page.getByRole("button", { name: "exit 3" }).first()).toBeVisible();
  await page.getByRole("button", { name: "Status: Any status" }).click();
  await page.getByRole("menuitemradio", { name: "Cancelled" }).click();
  await expect(page.getByRole("button", { name: "exit 3" })).toHaveCount(0);
  await page.getByRole("button", { name: /^echo started/ }).click();
  await expect(page.getByRole("dialog").getByRole("log")).toContainText("started");
});
