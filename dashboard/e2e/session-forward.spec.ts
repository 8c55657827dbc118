// A page that only the machine reaches, seen in the tech's own browser through a forwarded port.
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Page } from "@playwright/test";
import { expect, test } from "./fixtures";
import { gururmm, stop } from "./stack";

const FIRMWARE = Buffer.alloc(2_500_000, "every byte of it counts. ");
const PAGE = `<!doctype html>
<html lang="en">
<title>Switch 7</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/look.css">
<h1>Switch 7 of Acme Manufacturing</h1>
<p id="ports">asking</p>
<p id="firmware">fetching</p>
<script src="/page.js"></script>
</html>
`;
const SCRIPT = `
const say = (id, text) => { document.getElementById(id).textContent = text; };
fetch("/ports.json").then((answer) => answer.json()).then(({ up }) => say("ports", up + " ports are up"));
fetch("/firmware").then((answer) => answer.arrayBuffer())
  .then((bytes) => fetch("/count", { method: "POST", body: bytes }))
  .then((answer) => answer.text()).then((text) => say("firmware", text));
`;

/** A device with a page of its own, and what really went over its connections. */
async function device() {
  const sockets = new Set<Socket>();
  const server = createServer((request, answer) => {
    const files: Record<string, [string, string | Buffer]> = {
      "/": ["text/html", PAGE],
      "/look.css": ["text/css", "h1 { color: rgb(0, 96, 128); }"],
      "/page.js": ["text/javascript", SCRIPT],
      "/ports.json": ["application/json", '{"up": 23}'],
      "/firmware": ["application/octet-stream", FIRMWARE],
    };
    if (request.method === "POST") {
      let bytes = 0;
      request.on("data", (piece: Buffer) => {
        bytes += piece.length;
      });
      request.on("end", () => answer.end(`${bytes} bytes went there and back`));
      return;
    }
    const [type, body] = files[request.url ?? ""] ?? ["text/plain", ""];
    answer.setHeader("content-type", type);
    answer.end(body);
  });
  server.on("connection", (socket) => sockets.add(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (typeof address !== "object" || !address) throw new Error("no port");
  const sum = (of: (socket: Socket) => number) =>
    [...sockets].reduce((bytes, socket) => bytes + of(socket), 0);
  return {
    port: address.port,
    facts: () => ({
      connections: sockets.size,
      bytes_to_machine: sum(({ bytesRead }) => bytesRead),
      bytes_from_machine: sum(({ bytesWritten }) => bytesWritten),
    }),
    /** Lets go of whoever asks for nothing more. */
    rest: () => server.closeIdleConnections(),
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** As the audit log has it. */
interface Reached {
  address: string;
  connections: number;
  bytes_to_machine: number;
  bytes_from_machine: number;
}

/** An event of a recording, as far as it is looked at. */
interface Recorded {
  channel: number;
  event: {
    what: string;
    channel?: { port?: number };
    to_machine?: number;
    from_machine?: number;
  };
}

/** What may be reached through the machine, set as people set it. */
async function allow(page: Page, agentId: string, addresses: string) {
  await page.goto(`/agents/${agentId}/policy`);
  const field = page.getByLabel("Sessions: addresses behind the machine");
  await field.fill(addresses);
  await page.getByRole("button", { name: "Save policy" }).click();
  await expect(page.getByText("Policy saved.").first()).toBeVisible();
}

test("a page behind the machine loads through a forwarded port, and another port does not", async ({
  page,
  browser,
  agentId,
}) => {
  const home = mkdtempSync(join(tmpdir(), "gururmm-forward-"));
  const [wanted, forbidden] = [await device(), await device()];
  // No cookie of the dashboard's goes to a device: where a page is from does not depend on the port.
  const context = await browser.newContext({ storageState: { cookies: [], origins: [] } });
  await allow(page, agentId, `localhost:${wanted.port}`);
  const forwards = [wanted, forbidden].flatMap(({ port }) => ["-L", `0:localhost:${port}`]);
  const program = gururmm(home)("connect", agentId, ...forwards);
  try {
    let [said, complained] = ["", ""];
    program.stdout.on("data", (text) => {
      said += text;
    });
    program.stderr.on("data", (text) => {
      complained += text;
    });
    const places = () => [...said.matchAll(/\[OK\] (127\.0\.0\.1:\d+) reaches localhost:(\d+)/g)];
    await expect.poll(() => places().length, { message: complained }).toBe(2);
    const place = ({ port }: { port: number }) =>
      places().find(([, , there]) => Number(there) === port)?.[1];

    const there = await context.newPage();
    for (let times = 1; times <= 2; times++) {
      await there.goto(`http://${place(wanted)}/`);
      await expect(there.getByRole("heading")).toHaveText("Switch 7 of Acme Manufacturing");
      await expect(there.getByRole("heading")).toHaveCSS("color", "rgb(0, 96, 128)");
      await expect(there.getByText("23 ports are up")).toBeVisible();
      await expect(there.getByText("2500000 bytes went there and back")).toBeVisible();
    }
    await there.screenshot({ path: "test-results/e2e-session/forwarded.png" });

    await expect(there.goto(`http://${place(forbidden)}/`)).rejects.toThrow(/ERR_/);
    await expect
      .poll(() => complained)
      .toMatch(new RegExp(`to localhost:${forbidden.port}: .*the policy does not allow`));
    expect(forbidden.facts().connections).toBe(0);

    // A policy that is changed holds at once.
    wanted.rest();
    await allow(page, agentId, "192.0.2.7:443");
    complained = "";
    await expect(async () => {
      // One that was on its way when the policy changed may never be answered.
      const gone = there.goto(`http://${place(wanted)}/`, { timeout: 5_000 });
      await expect(gone).rejects.toThrow(/ERR_/);
    }).toPass();
    expect(complained).toMatch(new RegExp(`to localhost:${wanted.port}: .*does not allow`));
  } finally {
    await stop(program, "SIGINT");
    await allow(page, agentId, "");
    await context.close();
    for (const { close } of [wanted, forbidden]) close();
    rmSync(home, { recursive: true, force: true });
  }
  expect(program.exitCode).toBe(0);

  // What passed is in the audit log and in the recording, to the byte. The browser may have said something more on a
  // connection that the device had left already: that went to the machine, and no further.
  const { connections, bytes_to_machine, bytes_from_machine } = wanted.facts();
  expect(bytes_from_machine).toBeGreaterThan(2 * FIRMWARE.length);
  const audited = await page.request.get("/api/v1/audit?action=tunnel.forwards");
  const { items } = await audited.json();
  const [newest] = items;
  const found = (port: number): Reached =>
    newest.detail.addresses.find(({ address }: Reached) => address === `localhost:${port}`);
  const audit = found(wanted.port);
  expect(audit.bytes_from_machine).toBe(bytes_from_machine);
  expect(audit.bytes_to_machine - bytes_to_machine).toBeGreaterThanOrEqual(0);
  expect(audit.bytes_to_machine - bytes_to_machine).toBeLessThan(8_192);
  expect(audit.connections).toBeGreaterThanOrEqual(connections);
  expect(found(forbidden.port)).toMatchObject({ bytes_to_machine: 0, bytes_from_machine: 0 });

  const recorded = await page.request.get(
    `/api/v1/recordings/${newest.target_id}/events?limit=100`,
  );
  const { items: happened }: { items: Recorded[] } = await recorded.json();
  const through = happened.filter(({ event }) => event.channel?.port === wanted.port);
  const channels = new Set(through.map(({ channel }) => channel));
  const ended = happened.filter(
    ({ channel, event }) => event.what === "ended" && channels.has(channel),
  );
  const sum = (of: "to_machine" | "from_machine") =>
    ended.reduce((bytes, { event }) => bytes + (event[of] ?? 0), 0);
  expect({ to: sum("to_machine"), from: sum("from_machine") }).toEqual({
    to: audit.bytes_to_machine,
    from: audit.bytes_from_machine,
  });
  await page.goto(`/sessions/${newest.target_id}`);
  const list = page.getByRole("list", { name: "What happened, in order" });
  await expect(list).toContainText(`Opened a forwarded port to localhost:${wanted.port}.`);
  await expect(list).toContainText(
    `Ended: the policy does not allow localhost:${forbidden.port} (0 B to it, 0 B from it).`,
  );
});
