// A session with the machine that the tests run on: what a tech does there, done in the browser.
import { createHash, randomBytes } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Page, WebSocketRoute } from "@playwright/test";
import { expect, test } from "./fixtures";

const OUT = "test-results/e2e-session";
/** A short file in an ordinary run, the whole gibibyte where there is time for it. */
const UPLOAD_BYTES = process.env.GURURMM_E2E_LONG ? 1024 ** 3 : 24 * 1024 ** 2;

const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

let folder: string;
test.beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "gururmm-session-"));
  mkdirSync(OUT, { recursive: true });
});
test.afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What the page's socket is cut with. */
async function cuttable(page: Page) {
  const sockets: WebSocketRoute[] = [];
  let isDown = false;
  await page.routeWebSocket(/\/tunnel\/[^/]+\/socket$/, (socket) => {
    if (isDown) return void socket.close();
    socket.connectToServer();
    sockets.push(socket);
  });
  return {
    cut: async () => {
      isDown = true;
      await sockets.at(-1)?.close();
    },
    mend: () => {
      isDown = false;
    },
  };
}

/** Opens a session from the machine's page; its first terminal is there. */
async function openSession(page: Page, agentId: string) {
  // What is on the screen is there as text too.
  await page.addInitScript(() => localStorage.setItem("gururmm.terminal.reader", "true"));
  await page.goto(`/agents/${agentId}`);
  await page.getByRole("button", { name: "Open session" }).click();
  await expect(page).toHaveURL(/\/session\?session=/);
  await expect(page.getByText("Connected", { exact: true })).toBeVisible();
  await prompt(page);
}

const screen = (page: Page) => page.locator(".xterm-accessibility").filter({ visible: true });

/** The shell is there and takes what is typed. */
async function prompt(page: Page) {
  await expect(screen(page)).toContainText(/[#$]/);
}

/** Types a line and waits for what it says. */
async function run(page: Page, line: string, says: string | RegExp) {
  await page.keyboard.type(line);
  await page.keyboard.press("Enter");
  await expect(screen(page)).toContainText(says);
}

async function endSession(page: Page) {
  await page.getByRole("button", { name: "End session" }).click();
  const confirm = page.getByRole("alertdialog");
  await confirm.getByRole("button", { name: "End session" }).click();
  await expect(page).toHaveURL(/\/agents\/[0-9a-f-]+$/);
}

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

test("a shell outlives a reload and a lost link, and no key is lost", async ({ page, agentId }) => {
  const link = await cuttable(page);
  await openSession(page, agentId);
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

  await link.cut();
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

/** The files of a folder, by its address. */
async function showFolder(page: Page, path: string) {
  await page.getByRole("link", { name: "Files", exact: true }).click();
  await page.getByRole("button", { name: "Type a path" }).click();
  await page.getByRole("textbox", { name: "Path" }).fill(path);
  await page.keyboard.press("Enter");
}

test("an upload goes on after a cut link, and its checksum is right", async ({ page, agentId }) => {
  test.setTimeout(UPLOAD_BYTES > 1024 ** 2 * 100 ? 900_000 : 90_000);
  const link = await cuttable(page);
  await openSession(page, agentId);
  const source = join(folder, "source.bin");
  const target = join(folder, "uploaded");
  mkdirSync(target);
  const piece = randomBytes(8 * 1024 ** 2);
  const hash = createHash("sha256");
  writeFileSync(source, "");
  for (let written = 0; written < UPLOAD_BYTES; written += piece.length) {
    piece.writeUInt32BE(written / piece.length);
    writeFileSync(source, piece, { flag: "a" });
    hash.update(piece);
  }
  await showFolder(page, target);
  await expect(page.getByText("This folder is empty")).toBeVisible();

  await page.getByLabel("Files to send").setInputFiles(source);
  const row = page.getByRole("region", { name: "Transfers" }).getByRole("listitem");
  const bar = row.getByRole("progressbar");
  const percent = async () => Number(await bar.getAttribute("aria-valuenow"));
  await expect.poll(percent, { intervals: [20], timeout: 300_000 }).toBeGreaterThan(10);
  await link.cut();
  await expect(row).toContainText("goes on by itself");
  expect(await percent()).toBeLessThan(100);
  link.mend();
  await page.getByRole("button", { name: "Try now" }).click();
  await expect(row).toContainText("checksum right", { timeout: 600_000 });
  await page.screenshot({ path: join(OUT, "upload.png") });

  const arrived = join(target, "source.bin");
  expect(statSync(arrived).size).toBe(UPLOAD_BYTES);
  if (UPLOAD_BYTES < 1024 ** 3) expect(sha256(readFileSync(arrived))).toBe(hash.digest("hex"));
  await expect(page.getByRole("row", { name: /source\.bin/ })).toBeVisible();
  await endSession(page);
});

test("files are looked through, changed and taken home", async ({ page, agentId }) => {
  // A file in the page's own store stands for the one that a person would choose.
  await page.addInitScript(() => {
    Object.assign(window, {
      showSaveFilePicker: async () => {
        const root = await navigator.storage.getDirectory();
        return root.getFileHandle("saved", { create: true });
      },
    });
  });
  await openSession(page, agentId);
  const here = join(folder, "work");
  mkdirSync(join(here, "old"), { recursive: true });
  writeFileSync(join(here, "old", "a.txt"), "a");
  writeFileSync(join(here, "settings.conf"), "port = 22\n");
  const big = randomBytes(3 * 1024 ** 2 + 17);
  writeFileSync(join(here, "big.bin"), big);
  await showFolder(page, here);
  const row = (name: string) => page.getByRole("row", { name: new RegExp(`^Choose ${name}`) });

  await page.getByRole("button", { name: "New folder" }).click();
  await page.getByLabel("Name", { exact: true }).fill("new");
  await page.keyboard.press("Enter");
  await expect(row("new")).toBeVisible();

  await page.getByRole("button", { name: "Actions for old" }).click();
  await page.getByRole("menuitem", { name: "Rename" }).click();
  await page.getByLabel("Name", { exact: true }).fill("older");
  await page.getByRole("button", { name: "Rename", exact: true }).click();
  await expect(row("older")).toBeVisible();

  await row("older").focus();
  await page.keyboard.press("Delete");
  await page.getByRole("alertdialog").getByRole("button", { name: "Delete" }).click();
  await expect(row("older")).toHaveCount(0);
  expect(existsSync(join(here, "older"))).toBe(false);

  // Someone else changes the file while it is edited here.
  await page.getByRole("button", { name: "settings.conf", exact: true }).click();
  const text = page.getByRole("textbox", { name: "Text of settings.conf" });
  await expect(text).toContainText("port = 22");
  await page.screenshot({ path: join(OUT, "editor.png") });
  await text.press("Control+a");
  await page.keyboard.type("port = 2222");
  writeFileSync(join(here, "settings.conf"), "port = 443\n");
  await page.keyboard.press("Control+s");
  await expect(page.getByText("was changed at the machine since it was read")).toBeVisible();
  expect(readFileSync(join(here, "settings.conf"), "utf8")).toBe("port = 443\n");
  await page.getByRole("button", { name: "Overwrite with this" }).click();
  await expect(page.getByText("settings.conf is saved.")).toBeVisible();
  expect(readFileSync(join(here, "settings.conf"), "utf8")).toBe("port = 2222");
  await page.getByRole("dialog").getByRole("button", { name: "Close" }).last().click();

  await page.getByRole("button", { name: "Actions for big.bin" }).click();
  await page.getByRole("menuitem", { name: "Download" }).click();
  const transfer = page.getByRole("region", { name: "Transfers" });
  await expect(transfer).toContainText("checksum right");
  const saved = await page.evaluate(async () => {
    const root = await navigator.storage.getDirectory();
    const file = await (await root.getFileHandle("saved")).getFile();
    const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
    return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  });
  expect(saved).toBe(sha256(big));
  await endSession(page);
});

test("a process is found and ended", async ({ page, agentId }) => {
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
  await endSession(page);
});

test("what was done is found by what was typed, and played", async ({ page, agentId }) => {
  await openSession(page, agentId);
  await run(page, "echo playback-$((40 + 2))", "playback-42");
  await endSession(page);
  await page.getByRole("link", { name: "Sessions", exact: true }).first().click();
  await expect(page.getByRole("row", { name: /Ended by its tech/ }).first()).toBeVisible();
  // What was typed is written while it happens, some seconds behind.
  await expect(async () => {
    await page.getByRole("searchbox", { name: "Search what was typed" }).fill("");
    await page.getByRole("searchbox", { name: "Search what was typed" }).fill("playback");
    await expect(page.getByRole("link", { name: /echo playback/ })).toBeVisible({ timeout: 3000 });
  }).toPass();
  await page.getByRole("link", { name: /echo playback/ }).click();
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
