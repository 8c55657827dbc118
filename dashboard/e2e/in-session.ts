// What tests do in a session with a machine.
import { expect, type Page } from "@playwright/test";

/** Opens a session from the machine's page; its first terminal is there. `at`: another way to the server. */
export async function openSession(page: Page, agentId: string, at = "") {
  // What is on the screen is there as text too.
  await page.addInitScript(() => localStorage.setItem("gururmm.terminal.reader", "true"));
  await page.goto(`${at}/agents/${agentId}`);
  await page.getByRole("button", { name: "Open session" }).click();
  await expect(page).toHaveURL(/\/session\?session=/);
  await expect(page.getByText("Connected", { exact: true })).toBeVisible();
  await prompt(page);
}

export const screen = (page: Page) =>
  page.locator(".xterm-accessibility").filter({ visible: true });

/** The shell is there and takes what is typed. */
export async function prompt(page: Page) {
  await expect(screen(page)).toContainText(/[#$]/);
}

/** Types a line and waits for what it says. */
export async function run(page: Page, line: string, says: string | RegExp) {
  await page.keyboard.type(line);
  await page.keyboard.press("Enter");
  await expect(screen(page)).toContainText(says);
}

export async function endSession(page: Page) {
  await page.getByRole("button", { name: "End session" }).click();
  const confirm = page.getByRole("alertdialog");
  await confirm.getByRole("button", { name: "End session" }).click();
  await expect(page).toHaveURL(/\/agents\/[0-9a-f-]+$/);
}

/** The files of a folder, by its address. */
export async function showFolder(page: Page, path: string) {
  await page.getByRole("link", { name: "Files", exact: true }).click();
  await page.getByRole("button", { name: "Type a path" }).click();
  await page.getByRole("textbox", { name: "Path" }).fill(path);
  await page.keyboard.press("Enter");
}

/** A row of the folder that is shown. */
export const fileRow = (page: Page, name: string) =>
  page.getByRole("row", { name: new RegExp(`^Choose ${name}`) });

/** Does with an entry what its menu offers. */
export async function actOn(page: Page, name: string, action: string) {
  await page.getByRole("button", { name: `Actions for ${name}`, exact: true }).click();
  await page.getByRole("menuitem", { name: action }).click();
}

/** Downloads go into the page's own store instead of a file that a person would choose. */
export async function saveInPage(page: Page) {
  await page.addInitScript(() => {
    Object.assign(window, {
      showSaveFilePicker: async () => {
        const root = await navigator.storage.getDirectory();
        return root.getFileHandle("saved", { create: true });
      },
    });
  });
}

/** SHA-256 of what was downloaded last. */
export async function savedSha256(page: Page): Promise<string> {
  return page.evaluate(async () => {
    const root = await navigator.storage.getDirectory();
    const file = await (await root.getFileHandle("saved")).getFile();
    const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
    return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  });
}
