// Files of the machine that the tests run on: looked through, changed, sent and fetched in the browser.
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import {
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { Page } from "@playwright/test";
import { expect, test } from "./fixtures";
import {
  actOn,
  endSession,
  fileRow,
  openSession,
  savedSha256,
  saveInPage,
  showFolder,
} from "./in-session";
import type { Link } from "./link";

const OUT = "test-results/e2e-session";
const MIB = 1024 ** 2;
/** A short file in an ordinary run, the whole gibibyte where there is time for it. */
const UPLOAD_BYTES = process.env.GURURMM_E2E_LONG ? 1024 * MIB : 48 * MIB;
const DOWNLOAD_BYTES = 24 * MIB;
const LONG_MS = 600_000;

let folder: string;
test.beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "gururmm-session-"));
  mkdirSync(OUT, { recursive: true });
});
test.afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function sha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}

/** A file of which no two parts are alike. */
async function makeFile(path: string, size: number): Promise<string> {
  const piece = randomBytes(8 * MIB);
  writeFileSync(path, "");
  for (let written = 0; written < size; written += piece.length) {
    piece.writeUInt32BE(written / piece.length);
    writeFileSync(path, piece, { flag: "a" });
  }
  return sha256(path);
}

/** What there is to see of the only transfer. */
function transferRow(page: Page) {
  return page.getByRole("region", { name: "Transfers" }).getByRole("listitem");
}

/** Breaks the link in the middle of a transfer, and sees that only the rest goes over the next one. */
async function cutHalfWay(page: Page, link: Link, way: "sent" | "received", size: number) {
  const row = transferRow(page);
  await link.cutAfter(way, size / 2);
  await expect(row).toContainText("goes on by itself", { timeout: LONG_MS });
  await expect(page.getByText("The link to the server is lost.")).toBeVisible();
  const before = link.passed[way];
  link.mend();
  await page.getByRole("button", { name: "Try now" }).click();
  await expect(row).toContainText("checksum right", { timeout: LONG_MS });
  expect(link.passed[way] - before).toBeLessThan(size * 0.55);
}

test("an upload goes on after its link was killed half-way, and its checksum is right", async ({
  page,
  agentId,
  link,
}) => {
  test.setTimeout(process.env.GURURMM_E2E_LONG ? 3 * LONG_MS : 90_000);
  await openSession(page, agentId, link.url);
  const source = join(folder, "source.bin");
  const target = join(folder, "uploaded");
  const arrived = join(target, "source.bin");
  mkdirSync(target);
  const wanted = await makeFile(source, UPLOAD_BYTES);
  await showFolder(page, target);
  await expect(page.getByText("This folder is empty")).toBeVisible();

  const began = performance.now();
  const broken = cutHalfWay(page, link, "sent", UPLOAD_BYTES);
  await page.getByLabel("Files to send").setInputFiles(source);
  await broken;
  const seconds = (performance.now() - began) / 1000;
  const rate = UPLOAD_BYTES / MIB / seconds;
  writeFileSync(
    join(OUT, "upload.txt"),
    `${UPLOAD_BYTES} bytes in ${seconds.toFixed(1)} s, cut half-way: ${rate.toFixed(1)} MiB/s\n`,
  );
  await page.screenshot({ path: join(OUT, "upload.png") });

  expect(statSync(arrived).size).toBe(UPLOAD_BYTES);
  expect(await sha256(arrived)).toBe(wanted);
  // Nothing stays beside it.
  expect(readdirSync(target)).toEqual(["source.bin"]);
  await expect(fileRow(page, "source.bin")).toBeVisible();
  await endSession(page);
});

test("a download goes on after its link was killed half-way, and its checksum is right", async ({
  page,
  agentId,
  link,
}) => {
  await saveInPage(page);
  await openSession(page, agentId, link.url);
  const here = join(folder, "large");
  mkdirSync(here);
  const wanted = await makeFile(join(here, "image.iso"), DOWNLOAD_BYTES);
  await showFolder(page, here);
  await expect(fileRow(page, "image.iso")).toBeVisible();
  const broken = cutHalfWay(page, link, "received", DOWNLOAD_BYTES);
  await actOn(page, "image.iso", "Download");
  await broken;
  expect(await savedSha256(page)).toBe(wanted);
  await endSession(page);
});

test("files are looked through, changed and taken home", async ({ page, agentId }) => {
  await saveInPage(page);
  await openSession(page, agentId);
  const here = join(folder, "work");
  mkdirSync(join(here, "old"), { recursive: true });
  writeFileSync(join(here, "old", "a.txt"), "a");
  writeFileSync(join(here, "settings.conf"), "port = 22\n", { mode: 0o644 });
  const big = randomBytes(3 * MIB + 17);
  writeFileSync(join(here, "big.bin"), big);
  await showFolder(page, here);

  await page.getByRole("button", { name: "New folder" }).click();
  await page.getByLabel("Name", { exact: true }).fill("new");
  await page.keyboard.press("Enter");
  await expect(fileRow(page, "new")).toBeVisible();

  await actOn(page, "old", "Rename");
  await page.getByLabel("Name", { exact: true }).fill("older");
  await page.getByRole("button", { name: "Rename", exact: true }).click();
  await expect(fileRow(page, "older")).toBeVisible();

  await fileRow(page, "older").focus();
  await page.keyboard.press("Delete");
  await page.getByRole("alertdialog").getByRole("button", { name: "Delete" }).click();
  await expect(fileRow(page, "older")).toHaveCount(0);
  expect(existsSync(join(here, "older"))).toBe(false);

  await actOn(page, "settings.conf", "Permissions and owner");
  const permissions = page.getByRole("dialog", { name: "Permissions of settings.conf" });
  await expect(permissions.getByLabel("As a number")).toHaveValue("0644");
  await permissions.getByRole("checkbox", { name: "Others may read" }).uncheck();
  await permissions.getByRole("checkbox", { name: "Owner may execute" }).check();
  await expect(permissions.getByLabel("As a number")).toHaveValue("0740");
  await permissions.getByRole("button", { name: "Set", exact: true }).click();
  await expect(fileRow(page, "settings.conf")).toContainText("rwxr-----");
  expect(statSync(join(here, "settings.conf")).mode & 0o7777).toBe(0o740);

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
  expect(statSync(join(here, "settings.conf")).mode & 0o7777).toBe(0o740);
  await page.getByRole("dialog").getByRole("button", { name: "Close" }).last().click();

  await actOn(page, "big.bin", "Download");
  await expect(transferRow(page)).toContainText("checksum right");
  expect(await savedSha256(page)).toBe(createHash("sha256").update(big).digest("hex"));
  await endSession(page);
});

test("a folder is dropped on the page, and comes back as an archive", async ({ page, agentId }) => {
  // As browsers are that let no page write into files: they download by themselves.
  await page.addInitScript(() => Object.assign(window, { showSaveFilePicker: undefined }));
  await openSession(page, agentId);
  const source = join(folder, "site");
  const target = join(folder, "dropped");
  mkdirSync(join(source, "img", "empty"), { recursive: true });
  mkdirSync(target);
  writeFileSync(join(source, "index.html"), "<h1>Acme</h1>\n");
  writeFileSync(join(source, "img", "grün & blau.bin"), randomBytes(300_000));
  await showFolder(page, target);
  await expect(page.getByText("This folder is empty")).toBeVisible();

  await drop(page, [source]);
  const transfers = page.getByRole("region", { name: "Transfers" });
  await expect(transfers).toContainText("2 done");
  execFileSync("diff", ["--recursive", source, join(target, "site")]);

  await expect(fileRow(page, "site")).toBeVisible();
  const download = page.waitForEvent("download");
  await actOn(page, "site", "Download as an archive");
  const archive = join(folder, "site.tar.gz");
  expect((await download).suggestedFilename()).toBe("site.tar.gz");
  await (await download).saveAs(archive);
  const unpacked = join(folder, "unpacked");
  mkdirSync(unpacked);
  execFileSync("tar", ["--extract", "--gzip", "--file", archive, "--directory", unpacked]);
  execFileSync("diff", ["--recursive", source, join(unpacked, "site")]);
  await endSession(page);
});

/** Drops files and folders of this machine in the middle of the page, as the system's file manager does. */
async function drop(page: Page, files: string[]) {
  const box = await page.getByRole("region", { name: "Files" }).boundingBox();
  if (!box) throw new Error("the folder is not on the screen");
  const devtools = await page.context().newCDPSession(page);
  for (const type of ["dragEnter", "dragOver", "drop"] as const) {
    await devtools.send("Input.dispatchDragEvent", {
      ...{ type, x: box.x + box.width / 2, y: box.y + box.height / 2 },
      data: { items: [], files, dragOperationsMask: 1 },
    });
    if (type === "dragOver") await expect(page.getByText(/^Send to /)).toBeVisible();
  }
  await devtools.detach();
}
