// The real server and the real agent, as processes of the test's own.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { join, resolve } from "node:path";

const BINARIES = resolve(
  process.env.GURURMM_BIN_DIR ?? process.env.GURURMM_PROGRAMS ?? "../target/debug",
);
const START_DEADLINE_MS = 60_000;
const AGENT = join(BINARIES, "gururmm-agent");

/** The folder of this run; set by the global set-up, known to every worker through the environment. */
export const runFolder = () => process.env.GURURMM_E2E_DIR ?? "";
export const serverUrl = () => process.env.GURURMM_E2E_URL ?? "";
export const setupLink = () => process.env.GURURMM_E2E_SETUP_LINK ?? "";
export const ownerState = () => join(runFolder(), "owner.json");
/** Site code and enrollment key of the first site. */
export const siteFile = () => join(runFolder(), "site.json");

export const OWNER = {
  name: "Maya Lindqvist",
  email: "maya@example.com",
  password: "correct horse battery staple 7",
};
export const PARTNER = "Northwind IT";
export const CLIENT = "Acme Manufacturing";
export const SITE = "Main works";

export interface FirstSite {
  code: string;
  key: string;
  siteId: string;
}

export function firstSite(): FirstSite {
  return JSON.parse(readFileSync(siteFile(), "utf8"));
}

async function freePort(): Promise<number> {
  return new Promise((done, failed) => {
    const probe = createServer();
    probe.once("error", failed);
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() =>
        typeof address === "object" && address ? done(address.port) : failed(new Error("no port")),
      );
    });
  });
}

/** A folder as `./dev dist` makes it, with a file that only looks like the Windows installer. */
export const MSI = {
  file: "GuruRMM.msi",
  bytes: Buffer.alloc(300_000, "every byte of it is signed. "),
};

function layDownPackages(folder: string): string {
  const dist = join(folder, "dist");
  mkdirSync(dist);
  writeFileSync(join(dist, MSI.file), MSI.bytes);
  const artefact = {
    ...{ file: MSI.file, kind: "msi", os: "windows", arch: "x86_64", version: "0.1.0" },
    ...{ sha256: createHash("sha256").update(MSI.bytes).digest("hex"), size: MSI.bytes.length },
    ...{ signed: true, ran_here: false, note: null },
  };
  const manifest = { version: "0.1.0", built_at: "2026-01-01T00:00:00Z", artefacts: [artefact] };
  writeFileSync(join(dist, "manifest.json"), JSON.stringify(manifest));
  return dist;
}

/** What the server wrote to its log so far. */
export const serverLog = () => readFileSync(join(runFolder(), "server.log"), "utf8");

/** Starts the server and waits for the setup link that it prints. */
export async function startServer(folder: string) {
  const port = await freePort();
  const log = join(folder, "server.log");
  const child = spawn(
    join(BINARIES, "gururmm-server"),
    [
      ...["serve", "--data-dir", join(folder, "data"), "--listen", `127.0.0.1:${port}`],
      ...["--agent-binary", AGENT, "--dist", layDownPackages(folder)],
    ],
    { stdio: ["ignore", "pipe", openSync(log, "a")] },
  );
  const link = await new Promise<string>((done, failed) => {
    let printed = "";
    const fail = (why: string) => {
      failed(new Error(`the server ${why}\n${printed}\n${readFileSync(log, "utf8").slice(-4000)}`));
    };
    const timer = setTimeout(() => fail("did not print its setup link in time"), START_DEADLINE_MS);
    child.once("error", (error) => fail(`could not be started: ${error.message}`));
    child.once("exit", (code) => fail(`ended with code ${code}`));
    child.stdout?.on("data", (data: Buffer) => {
      printed += data.toString();
      const match = /setup link: (\S+)/.exec(printed);
      if (match?.[1]) {
        clearTimeout(timer);
        done(match[1]);
      }
    });
  });
  child.removeAllListeners("exit");
  return { child, url: `http://127.0.0.1:${port}`, link };
}

export async function stop(child: ChildProcess, signal: NodeJS.Signals = "SIGTERM") {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((done) => child.once("exit", done));
  child.kill(signal);
  const timer = setTimeout(() => child.kill("SIGKILL"), 15_000);
  await ended;
  clearTimeout(timer);
}

/** Enrolls an agent with the key; throws with what it printed when it is refused. */
export function enrollAgent(name: string, site: Pick<FirstSite, "code" | "key">) {
  const state = join(runFolder(), name);
  mkdirSync(state, { recursive: true, mode: 0o700 });
  const keyFile = join(runFolder(), `${name}.key`);
  writeFileSync(keyFile, site.key, { mode: 0o600 });
  execFileSync(
    AGENT,
    [
      ...["enroll", "--server", serverUrl(), "--site", site.code],
      ...["--key-file", keyFile, "--state-dir", state],
    ],
    { stdio: "pipe", timeout: 30_000 },
  );
  return state;
}

/** A tech's own terminal, signed in as the owner. `home`: a folder for what it keeps. */
export function gururmm(home: string) {
  const program = join(BINARIES, "gururmm");
  const env = { HOME: home, PATH: process.env.PATH };
  execFileSync(program, ["login", "--url", serverUrl(), "--email", OWNER.email], {
    ...{ env, input: `${OWNER.password}\n`, stdio: "pipe", timeout: 30_000 },
  });
  return (...words: string[]) => spawn(program, words, { env, stdio: ["ignore", "pipe", "pipe"] });
}

/** The state folder of the agent that the setup wizard enrolled. */
export const firstAgent = () => join(runFolder(), "agent");

const pidFile = (folder: string) => join(folder, "agents.pid");

/** Runs an agent until the end of the run, whatever worker started it. */
export function runAgent(state: string) {
  const log = openSync(join(runFolder(), "agent.log"), "a");
  const child = spawn(AGENT, ["run", "--state-dir", state], {
    detached: true,
    stdio: ["ignore", log, log],
  });
  appendFileSync(pidFile(runFolder()), `${child.pid}\n`);
  child.unref();
}

const isThere = (pid: number) => {
  try {
    // What has ended and was not waited for is still listed.
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
};

/** Kills the agent that was started last, without a word to it, and returns when it is gone. */
export async function killAgent() {
  const pids = readFileSync(pidFile(runFolder()), "utf8").trim().split("\n");
  const pid = Number(pids.pop());
  process.kill(pid, "SIGKILL");
  while (isThere(pid)) await new Promise((done) => setTimeout(done, 20));
  writeFileSync(pidFile(runFolder()), pids.map((line) => `${line}\n`).join(""));
}

export async function stopAgents(folder: string) {
  if (!existsSync(pidFile(folder))) return;
  for (const line of readFileSync(pidFile(folder), "utf8").split("\n")) {
    const pid = Number(line);
    if (!pid) continue;
    try {
      process.kill(pid, "SIGTERM");
    } catch {
      // It has ended by itself.
    }
  }
}
