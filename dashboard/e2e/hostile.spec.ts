// A machine that wants to run script in the dashboard: markup in every string it may send.
import { randomUUID } from "node:crypto";
import type { Page } from "@playwright/test";
import { WebSocket } from "ws";
import { expect, runCommand, test } from "./fixtures";
import { firstSite, serverUrl } from "./stack";

const MARK = "__hostile";
const PAYLOADS = [
  `<img src=x onerror="window.${MARK}=1">`,
  `"><script>window.${MARK}=1</script>`,
  `<svg/onload=window.${MARK}=1>`,
  `javascript:window.${MARK}=1`,
  `<iframe srcdoc="<script>parent.${MARK}=1</script>">`,
  `'-window.${MARK}=1-'`,
  `{{constructor.constructor('window.${MARK}=1')()}}`,
  `</textarea></title></style></script><script>window.${MARK}=1</script>`,
];
let turn = 0;
const evil = () => PAYLOADS[turn++ % PAYLOADS.length] ?? "";

async function hostileAgent(page: Page) {
  const { siteId } = firstSite();
  const session = await (await page.request.get("/api/v1/session")).json();
  const made = await page.request.post(`/api/v1/sites/${siteId}/enrollment-keys`, {
    headers: { "X-CSRF-Token": session.csrf_token },
    data: { expires_in_hours: 1, label: evil() },
  });
  const { secret } = await made.json();
  const tree = await (await page.request.get("/api/v1/tree")).json();
  const site_code = tree.clients[0].sites[0].code;
  const identity = {
    machine_uid: `hostile-${"0".repeat(32)}`,
    machine_uid_source: "os_id",
    board_serial: evil(),
    disk_serial: evil(),
  };
  const system = {
    hostname: evil(),
    os_type: "linux",
    os_version: evil(),
    arch: "x86_64",
    kernel: evil(),
    cpu_model: evil(),
    manufacturer: evil(),
    model: evil(),
    serial: evil(),
  };
  const enroll = (differs: object) =>
    page.request.post("/api/enroll", {
      data: {
        ...identity,
        site_code,
        enrollment_key: secret,
        hostname: system.hostname,
        os_type: system.os_type,
        os_version: system.os_version,
        arch: system.arch,
        agent_version: "0.1.0",
        ...differs,
      },
    });
  const enrolled = await enroll({});
  expect(enrolled.status(), await enrolled.text()).toBe(201);
  const { agent_id, agent_key } = await enrolled.json();
  await page.request.post("/api/install-reports", {
    data: { site_code, stage: evil(), error: evil(), hostname: evil(), os_type: "linux" },
  });

  const socket = new WebSocket(`${serverUrl().replace("http", "ws")}/api/v1/agent/socket`, {
    headers: { authorization: `Bearer ${agent_key}`, "x-gururmm-agent": agent_id },
  });
  await new Promise((done, failed) => {
    socket.once("open", done);
    socket.once("error", failed);
  });
  const send = (message: object) => socket.send(JSON.stringify(message));
  const welcomed = new Promise((done) => socket.once("message", done));
  send({
    type: "hello",
    protocols: ["1.0"],
    agent_version: evil(),
    system,
    identity,
    commands: [],
  });
  await welcomed;
  // A machine that says it is the same one waits for a decision, with all it says of itself.
  const waiting = await enroll({
    ...{ hostname: evil(), os_version: evil(), board_serial: evil(), disk_serial: evil() },
    mac_addresses: PAYLOADS,
  });
  const { agent_id: waitingId, status } = await waiting.json();
  expect(status).toBe("pending");
  const asBytes = (text: string) => Buffer.from(text).toString("base64");
  socket.on("message", (data) => {
    const { type, log_id } = JSON.parse(String(data));
    if (type !== "log_request") return;
    const log = PAYLOADS.map((line) => `2026-03-01T12:00:00.000000Z ERROR ${line}\n`).join("");
    send({ type: "log_part", log_id, seq: 1, data: asBytes(log) });
    send({ type: "log_end", log_id, last_seq: 1, total_bytes: log.length, lost_lines: 1 });
  });
  send({
    type: "crash_report",
    crash_id: randomUUID(),
    cause: "panic",
    crashed_at: new Date().toISOString(),
    agent_version: evil(),
    message: PAYLOADS.join(" "),
    log: asBytes(`${PAYLOADS.join("\n")}\u202e\u001b[2J\n`),
  });
  const process = () => ({
    pid: 1,
    name: evil(),
    user: evil(),
    cpu_percent: 1,
    memory_bytes: 1,
    command_line: evil(),
  });
  send({
    type: "metrics",
    seq: 1,
    sample: {
      taken_at: new Date().toISOString(),
      interval_seconds: 30,
      cpu_percent: 5,
      cpu_count: 4,
      memory_used_bytes: 1e9,
      memory_total_bytes: 4e9,
      logged_in_user: evil(),
      public_ip: evil(),
      process_count: 2,
      disks: [
        { mount: evil(), device: evil(), file_system: evil(), used_bytes: 1, total_bytes: 2 },
      ],
      top_cpu: [process(), process()],
      top_memory: [process(), process()],
    },
  });
  send({
    type: "network_state",
    seq: 1,
    state: {
      interfaces: [
        { name: evil(), mac: evil(), up: true, ipv4: [evil()], ipv6: [evil()], subnets: [evil()] },
      ],
      gateway: evil(),
      dns: [evil(), evil()],
    },
  });
  const ids = [agent_id, waitingId] as string[];
  return { agentId: agent_id as string, ids, close: () => socket.close() };
}

/** Nothing ran, and nothing of the corpus became an element. */
async function expectHarmless(page: Page) {
  const found = await page.evaluate((mark) => {
    const made = document.querySelectorAll(
      "img, iframe, object, embed, script:not([src]), [onerror], [onload], a[href^='javascript:']",
    );
    return { ran: mark in window, elements: [...made].map((element) => element.outerHTML) };
  }, MARK);
  expect(found).toEqual({ ran: false, elements: [] });
}

test("markup from a machine stays text on every page", async ({ page, agentId }) => {
  test.setTimeout(90_000);
  page.on("dialog", (dialog) => {
    throw new Error(`a dialog opened: ${dialog.message()}`);
  });
  const hostile = await hostileAgent(page);
  try {
    const { siteId } = firstSite();
    for (const path of [
      "/",
      "/agents",
      `/agents/${hostile.agentId}`,
      `/agents/${hostile.agentId}/details`,
      `/agents/${hostile.agentId}/commands`,
      `/agents/${hostile.agentId}/policy`,
      `/agents/${hostile.agentId}/log`,
      `/sites/${siteId}`,
      `/enrollment?site_id=${siteId}`,
      "/approvals",
      "/commands",
      "/alerts?status=all",
      "/audit",
    ]) {
      await test.step(path, async () => {
        await page.goto(path);
        await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
        await expect(page.getByRole("status", { name: "Loading" })).toHaveCount(0);
        await expectHarmless(page);
      });
    }
    await page.goto("/agents");
    // The corpus did reach the page: as the text it is.
    await expect(page.getByRole("link", { name: /window\.__hostile/ }).first()).toBeVisible();

    await page.goto(`/agents/${hostile.agentId}`);
    await page.getByRole("button", { name: /^CPU/ }).click();
    await expect(page.getByRole("dialog").locator("tbody tr")).toHaveCount(2);
    await expectHarmless(page);
    await page.keyboard.press("Escape");
    await page.keyboard.press("Control+k");
    await page.keyboard.type("window");
    await expect(page.getByRole("option", { name: /window\./ }).first()).toBeVisible();
    await expectHarmless(page);

    await page.goto(`/agents/${hostile.agentId}/log`);
    await expect(page.getByRole("article", { name: "Chosen crash" })).toContainText(
      PAYLOADS[0] ?? "",
    );
    await page.getByRole("button", { name: "Get the log" }).click();
    const log = page.getByRole("article", { name: "Chosen log" });
    await expect(log.getByRole("region", { name: "Log" })).toContainText(PAYLOADS[0] ?? "");
    await expectHarmless(page);
    await log.getByRole("searchbox").fill("<script>");
    await expect(log).toContainText(`of ${PAYLOADS.length} lines`);
    await expectHarmless(page);

    const run = await runCommand(page, agentId, `cat <<'END'\n${PAYLOADS.join("\n")}\nEND`);
    await expect(run).toContainText("Completed");
    await expect(run.getByRole("log")).toContainText(PAYLOADS[0] ?? "");
    await expectHarmless(page);
  } finally {
    hostile.close();
    const session = await (await page.request.get("/api/v1/session")).json();
    const headers = { "X-CSRF-Token": session.csrf_token };
    for (const id of hostile.ids) await page.request.delete(`/api/agents/${id}`, { headers });
  }
});
