// Machines are brought in with the installers that the real server hands out, and decided about.
import { readFileSync } from "node:fs";
import type { APIRequestContext, Page } from "@playwright/test";
import { expect, test } from "./fixtures";
import { enrollAgent, firstSite, MSI, serverLog } from "./stack";

// No second try: what these guard may not break now and then.
test.describe.configure({ retries: 0 });

/** A change as the signed-in person, without the page. */
async function change(
  page: Page,
  method: "POST" | "PATCH" | "DELETE",
  path: string,
  data?: object,
) {
  const session = await (await page.request.get("/api/v1/session")).json();
  const headers = { "X-CSRF-Token": session.csrf_token };
  const answer = await page.request.fetch(path, { method, headers, data });
  expect(answer.ok(), `${method} ${path}: ${await answer.text()}`).toBe(true);
  return answer.status() === 204 ? null : answer.json();
}

// The other tests have one machine, and a site that lets machines in.
test.afterEach(async ({ page }) => {
  await change(page, "PATCH", `/api/v1/sites/${firstSite().siteId}`, { approval_required: false });
  for (const filter of ["os_type=windows", "os_type=windows&status=retired"]) {
    const { items } = await (await page.request.get(`/api/v1/agents?${filter}`)).json();
    for (const { id } of items) await change(page, "DELETE", `/api/agents/${id}`);
  }
});

/** Enrolls a machine that there is only by name. */
async function enroll(request: APIRequestContext, key: string, hostname: string, disk = hostname) {
  return request.post("/api/enroll", {
    data: {
      site_code: firstSite().code,
      enrollment_key: key,
      hostname,
      os_type: "windows",
      os_version: "Windows 11 Pro 24H2",
      arch: "x86_64",
      agent_version: "0.1.0",
      machine_uid: `uid-of-${hostname}`,
      machine_uid_source: "smbios_uuid",
      disk_serial: disk,
    },
  });
}

async function mint(page: Page, limits: object): Promise<string> {
  const path = `/api/v1/sites/${firstSite().siteId}/enrollment-keys`;
  return (await change(page, "POST", path, limits)).secret;
}

test("an installer is downloaded with a token of its own, and the machine it brings is seen", async ({
  page,
  request,
}) => {
  const addresses: string[] = [];
  page.on("request", (sent) => addresses.push(sent.url()));
  const { siteId, code } = firstSite();
  await page.goto(`/enrollment?site_id=${siteId}`);
  await page.getByRole("radio", { name: "Windows" }).click();
  await page.getByLabel(/Machines/).fill("1");
  const downloading = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download the installer" }).click();
  const download = await downloading;
  const name = download.suggestedFilename();
  const read = /^GuruRMM-http\+127\.0\.0\.1\+\d+@([A-Z0-9]{8})\.(gek_\d+_[\w-]{43})\.msi$/.exec(
    name,
  );
  expect(read?.[1], name).toBe(code);
  expect(readFileSync(await download.path()).equals(MSI.bytes)).toBe(true);
  const token = read?.[2] ?? "";
  await expect(page.getByText(`${name} is downloaded.`)).toBeVisible();
  const row = page.getByRole("row", { name: /GuruRMM\.msi/ });
  await expect(row).toContainText("0 of 1");

  expect((await enroll(request, token, "front-desk")).status()).toBe(201);
  await expect(page.getByText("front-desk")).toBeVisible({ timeout: 5_000 });
  await expect(row).toContainText("Used up");
  expect((await enroll(request, token, "back-office")).status()).toBe(401);
  // It was in the name of the file, and nowhere else.
  expect(addresses.filter((address) => address.includes("gek_"))).toEqual([]);
  expect(serverLog()).not.toContain(token);

  await request.post("/api/install-reports", {
    data: { site_code: code, stage: "verify", error: "the disk is full", hostname: "till-3" },
  });
  await expect(page.getByText("till-3 could not be installed")).toBeVisible({ timeout: 5_000 });
  await page.reload();
  await expect(page.getByText("is downloaded.")).toHaveCount(0);
});

test("commands for every system hold the site's key, and are gone after a reload", async ({
  page,
}) => {
  await page.goto(`/enrollment?site_id=${firstSite().siteId}`);
  await page.getByRole("radio", { name: "Windows" }).click();
  await page.getByRole("button", { name: "Make commands" }).click();
  const command = page.getByText(/^msiexec \/i GuruRMM\.msi \/qn SITEKEY=/).first();
  await expect(command).toContainText(`SITEKEY=${firstSite().code}.gek_`);
  await expect(command).toContainText(/SERVER=http:\/\/127\.0\.0\.1:\d+$/);
  await page.getByText("Intune: install command").first().click();
  await page.getByRole("radio", { name: "macOS" }).click();
  await expect(page.getByText(/This server has no macOS package/)).toBeVisible();
  await page.getByRole("radio", { name: "Linux" }).click();
  await expect(page.getByText("Run this on a Linux machine")).toBeVisible();
  await page.reload();
  await expect(page.getByText(/gek_\d/)).toHaveCount(0);
});

test("machines that wait appear by themselves, and are decided about together", async ({
  page,
  request,
}) => {
  const { siteId } = firstSite();
  await change(page, "PATCH", `/api/v1/sites/${siteId}`, { approval_required: true });
  const key = await mint(page, { label: "Spring rollout", max_uses: 20, expires_in_hours: 1 });
  await page.goto("/approvals");
  await expect(page.getByRole("heading", { name: "Approvals" })).toBeVisible();
  for (const hostname of ["till-1", "till-2"]) {
    expect((await enroll(request, key, hostname)).status()).toBe(201);
  }
  const waiting = (hostname: string) =>
    page.getByRole("main").getByRole("listitem").filter({ hasText: hostname });
  await expect(waiting("till-2")).toContainText("Its site asks for approval", { timeout: 5_000 });
  await expect(waiting("till-2")).toContainText("Spring rollout");
  await expect(waiting("till-2")).toContainText("from 127.0.0.1");
  // The real agent of this machine asks a second time, while the first one is online: which machine is it?
  enrollAgent("copy", { code: firstSite().code, key });
  const copy = waiting("The known machine is");
  await expect(copy).toContainText("online right now", { timeout: 5_000 });

  await page.getByRole("checkbox", { name: "Choose all" }).click();
  await expect(page.getByText(/must be looked at one by one/)).toBeVisible();
  await page.getByRole("button", { name: "Approve 2", exact: true }).click();
  await expect(page.getByText("2 machines were let in.")).toBeVisible();
  await expect(waiting("till-2")).toHaveCount(0);
  await copy.getByRole("button", { name: /^Reject: / }).click();
  await page.getByRole("alertdialog").getByRole("button", { name: "Reject" }).click();
  await expect(page.getByText("1 machine was turned away.")).toBeVisible();
  await expect(copy).toHaveCount(0);
});

test("a machine is retired, waits when it comes again, and its records are merged", async ({
  page,
  request,
}) => {
  const key = await mint(page, { max_uses: 20, expires_in_hours: 1 });
  const first = await (await enroll(request, key, "laptop-9")).json();
  const act = async (name: string) => {
    await page.getByRole("button", { name: "More actions for laptop-9" }).click();
    await page.getByRole("menuitem", { name }).click();
  };
  await page.goto(`/agents/${first.agent_id}/details`);
  await act("Retire");
  await page.getByRole("alertdialog").getByRole("button", { name: "Retire" }).click();
  await expect(page.getByText("This machine is retired")).toBeVisible();
  await page.goto("/agents?search=laptop-9");
  await expect(page.getByText("No agent matches")).toBeVisible();
  await page.goto("/agents?search=laptop-9&status=retired");
  await expect(page.getByRole("link", { name: "laptop-9" })).toBeVisible();

  const again = await (await enroll(request, key, "laptop-9", "another-disk")).json();
  expect(again.status).toBe("pending");
  await page.goto("/approvals");
  const waiting = page.getByRole("main").getByRole("listitem").filter({ hasText: "laptop-9" });
  await expect(waiting).toContainText("which was retired");
  await waiting.getByRole("button", { name: "A different machine: laptop-9" }).click();
  await expect(page.getByText("1 machine was let in.")).toBeVisible();

  await page.goto(`/agents/${again.agent_id}/details`);
  await act("Merge another record into it");
  const dialog = page.getByRole("dialog");
  await expect(dialog.getByText("same name")).toBeVisible();
  await dialog.getByRole("radio").first().click();
  await dialog.getByRole("button", { name: "Merge" }).click();
  await expect(dialog).toBeHidden();
  expect((await page.request.get(`/api/v1/agents/${first.agent_id}`)).status()).toBe(404);
  expect((await page.request.get(`/api/v1/agents/${again.agent_id}`)).status()).toBe(200);
});
