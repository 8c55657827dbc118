// A session with the machine that the tests run on: what a tech does there, done in the browser.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "./fixtures";
import { endSession, openSession, prompt, run, screen } from "./in-session";

const OUT = "test-results/e2e-session";

let folder: string;
test.beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "gururmm-session-"));
  mkdirSync(OUT, { recursive: true });
});
test.afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("a shell in the browser is as one sat before it", async ({ page, agentId }) => {
  await openSession(page, agentId);
  await run(page, String.raw`printf "$((6 * 7))-gr\303\274n\n"`, "42-grün");
  await page.screenshot({ path: join(OUT, "bash.png") });

  const columns = async (name: string) => {
    const file = join(folder, name);
    await page.keyboard.type(`stty size > ${file}.part; mv ${file}.part ${file}\n`);
    await expect.poll(() => existsSync(file)).toBe(true);
    return Number(readFileSync(file, "utf8").split(" ")[1]);
  };
  const wide = await columns("wide");
  await page.setViewportSize({ width: 1000, height: 700 });
  await expect.poll(() => page.evaluate(() => document.body.clientWidth)).toBe(1000);
  await expect(async () => expect(await columns(`narrow-${Date.now()}`)).not.toBe(wide)).toPass();
  await page.setViewportSize({ width: 1440, height: 900 });

  // Control+K is the shell's: what stands behind the cursor goes.
  await page.keyboard.type("echo keptgone");
  for (let n = 0; n < 4; n++) await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("Control+k");
  await page.keyboard.press("Enter");
  await expect(screen(page)).toContainText(/^kept$/m);
  await expect(page.getByRole("dialog")).toHaveCount(0);

  const written = join(folder, "note.txt");
  await page.keyboard.type(`vim -u NONE -N -n ${written}\n`);
  await expect(screen(page)).toContainText("~");
  await page.keyboard.type("iwritten in vim");
  await expect(screen(page)).toContainText("written in vim");
  await page.screenshot({ path: join(OUT, "vim.png") });
  await page.keyboard.press("Escape");
  await page.keyboard.type(":wq\n");
  await expect
    .poll(() => existsSync(written) && readFileSync(written, "utf8"))
    .toBe("written in vim\n");

  if (existsSync("/usr/bin/htop")) {
    await page.keyboard.type("htop\n");
    await expect(screen(page)).toContainText("Load average");
    await page.screenshot({ path: join(OUT, "htop.png") });
    await page.keyboard.press("q");
  }

  await page.keyboard.press("Control+Shift+X");
  await expect(page.getByRole("navigation", { name: "Channels" }).locator(":focus")).toBeVisible();
  await endSession(page);
});

test("a shell outlives a reload and a lost link, and no key is lost", async ({
  page,
  agentId,
  link,
}) => {
  await openSession(page, agentId, link.url);
  await run(page, "KEPT=over-a-reload; seq -f 'line %g' 200", "line 200");
  await page.reload();
  await prompt(page);
  await expect(screen(page)).toContainText("line 200");
  await page.getByRole("button", { name: "This terminal" }).click();
  await page.getByRole("menuitem", { name: "Search" }).click();
  await page.getByRole("searchbox", { name: "Search in the terminal" }).fill("line 17");
  await expect(page.getByText("Not found")).toHaveCount(0);
  await page.keyboard.press("Escape");
  await run(page, "echo $KEPT", /^over-a-reload$/m);

  link.cut();
  await expect(page.getByText("The link to the server is lost.")).toBeVisible();
  await page.keyboard.type("echo typed $((50 + 5)) while away\n");
  link.mend();
  await page.getByRole("button", { name: "Try now" }).click();
  await expect(screen(page)).toContainText("typed 55 while away");
  await endSession(page);
});

test("terminals stand side by side", async ({ page, agentId }) => {
  await openSession(page, agentId);
  await run(page, "MINE=first", /MINE=first/);
  await page.getByRole("button", { name: "Which shell, and as whom" }).click();
  await page.getByRole("menuitem", { name: /\/sh$/ }).first().click();
  await prompt(page);
  await run(page, 'echo "<$MINE>$0"', /<>.*sh/);
  const tabs = page.getByRole("navigation", { name: "Channels" });
  await tabs.getByRole("link", { name: "bash" }).click();
  await run(page, 'echo "<$MINE>"', "<first>");
  await tabs.getByRole("link", { name: "Files" }).click();
  await expect(page.getByRole("region", { name: "Files" })).toBeVisible();
  await page.keyboard.press("Escape");
  await tabs.getByRole("link", { name: /^sh/ }).click();
  await run(page, "exit 3", /exit 3/);
  await expect(page.getByText("The shell has ended with code 3.")).toBeVisible();
  await page.getByRole("button", { name: "Close the tab" }).click();
  await expect(tabs.getByRole("link", { name: /^sh/ })).toHaveCount(0);
  await endSession(page);
});

test("a process is found and ended, and what the machine lacks is said", async ({
  page,
  agentId,
}) => {
  await openSession(page, agentId);
  await run(page, "sleep 47114711 &", /\[1\] \d+/);
  await page.getByRole("link", { name: "Processes", exact: true }).click();
  await page.getByRole("searchbox", { name: "Search processes" }).fill("47114711");
  const row = page.getByRole("row", { name: /sleep.*47114711/ });
  await expect(row).toBeVisible();
  await page.screenshot({ path: join(OUT, "processes.png") });
  await row.focus();
  await page.keyboard.press("Delete");
  await page.getByRole("alertdialog").getByRole("button", { name: "End" }).click();
  await expect(page.getByText("1 process ended.")).toBeVisible();
  await expect(row).toHaveCount(0);
  await page.getByRole("link", { name: "Registry", exact: true }).click();
  await expect(page.getByText("Registry: not on this machine")).toBeVisible();
  await page.getByRole("link", { name: "Event log", exact: true }).click();
  const { stdout } = spawnSync("journalctl", ["--header", "--no-pager", "--quiet"]);
  await expect(
    stdout?.length
      ? page.getByRole("grid", { name: "Entries" }).or(page.getByText("Nothing was logged"))
      : page.getByText(/This machine (keeps|has) no journal\./),
  ).toBeVisible();
  await endSession(page);
});

test("what was done is found by what was typed, and played", async ({ page, agentId }) => {
  await openSession(page, agentId);
  await run(page, "echo playback-$((40 + 2))", "playback-42");
  await endSession(page);
  await page.getByRole("link", { name: "Sessions", exact: true }).first().click();
  await expect(page.getByRole("row", { name: /Ended by its tech/ }).first()).toBeVisible();
  // What was typed is written while it happens, some seconds behind.
  await page.getByRole("searchbox", { name: "Search what was typed" }).fill("playback");
  await expect(page).toHaveURL(/q=playback/);
  const found = page.getByRole("link", { name: /echo playback/ }).first();
  await expect(async () => {
    await page.reload();
    await expect(found).toBeVisible({ timeout: 3000 });
  }).toPass();
  await found.click();
  await expect(page.getByText("What happened")).toBeVisible();
  await page.getByRole("button", { name: /echo playback/ }).click();
  await page.getByRole("button", { name: "Play", exact: true }).click();
  await expect(page.locator(".xterm-accessibility")).toContainText("playback-42");
  await page.screenshot({ path: join(OUT, "replay.png") });
  await expect(page.getByText(/Opened a terminal/)).toBeVisible();
});

test("an administrator ends a session, and its page says so", async ({
  page,
  context,
  agentId,
}) => {
  await openSession(page, agentId);
  const other = await context.newPage();
  await other.goto("/sessions");
  await other.getByRole("button", { name: /^End the session with/ }).click();
  await other.getByRole("alertdialog").getByRole("button", { name: "End session" }).click();
  await expect(other.getByText("The session is ended.")).toBeVisible();
  await expect(page.getByText("The session is over. An administrator ended it.")).toBeVisible();
  await expect(screen(page)).toContainText(/[#$]/);
});

test("a session goes on in the window that was opened last", async ({ page, context, agentId }) => {
  await openSession(page, agentId);
  await run(page, "WHERE=here", /WHERE=here/);
  const other = await context.newPage();
  await other.addInitScript(() => localStorage.setItem("gururmm.terminal.reader", "true"));
  await other.goto(page.url());
  await prompt(other);
  await expect(page.getByText("This session goes on in another window.")).toBeVisible();
  await run(other, 'echo "<$WHERE>"', "<here>");
  await page.getByRole("button", { name: "Continue here" }).click();
  await expect(screen(page)).toContainText("<here>");
  await expect(other.getByText("This session goes on in another window.")).toBeVisible();
  await endSession(page);
});
