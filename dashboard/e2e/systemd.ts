// A machine with a systemd of its own, inside the one that the tests run on: another name, other processes, other services.
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { runFolder, stop } from "./stack";

const SYSTEMD = "/lib/systemd/systemd";
const JOURNALD = "/lib/systemd/systemd-journald";
/** What systemd begins as: process 1 of its own, with mounts, a name and control groups of its own. */
const APART = ["--pid", "--mount-proc", "--mount", "--uts", "--ipc", "--cgroup", "--fork"];

/** Why there can be none here; null when there can. */
export function whyNoMachine(): string | null {
  if (process.getuid?.() !== 0) return "only root starts a systemd of its own";
  if (!existsSync(SYSTEMD) || !existsSync(JOURNALD)) return "systemd is not installed";
  const groups = controlGroups();
  if (!groups) return "this machine has no control groups of version 2";
  try {
    accessSync(groups, constants.W_OK);
    const mounts =
      "mount --make-rprivate / && mount -t tmpfs t /run && mount -t cgroup2 c /sys/fs/cgroup";
    execFileSync("unshare", [...APART, "sh", "-c", mounts], { stdio: "pipe" });
    return null;
  } catch (error) {
    return `nothing can be set apart here: ${error}`;
  }
}

/** Where they are mounted, whether beside the older ones or alone. */
function controlGroups(): string | undefined {
  const mounts = readFileSync("/proc/mounts", "utf8").split("\n");
  return mounts.map((line) => line.split(" ")).find(([, , type]) => type === "cgroup2")?.[1];
}

const JOURNAL = {
  "systemd-journald.socket": `
[Unit]
DefaultDependencies=no
[Socket]
ListenStream=/run/systemd/journal/stdout
ListenDatagram=/run/systemd/journal/socket
SocketMode=0666
PassCredentials=yes
`,
  "systemd-journald.service": `
[Unit]
Description=Journal
DefaultDependencies=no
Requires=systemd-journald.socket
After=systemd-journald.socket
[Service]
Type=notify
ExecStart=${JOURNALD}
Sockets=systemd-journald.socket
StandardOutput=null
`,
};

/** What others ask for; there is nothing else to wait for. */
const TARGETS = ["sysinit", "basic", "network-online", "multi-user", "shutdown"];

/** A service of the machine's, which begins with it. */
function serviceUnit(description: string, lines: string[]): string {
  const after = "DefaultDependencies=no\nAfter=systemd-journald.socket";
  return `[Unit]\nDescription=${description}\n${after}\n[Service]\n${lines.join("\n")}\n`;
}

export interface Machine {
  /** Runs a command there, and answers what it prints. */
  run: (command: string) => string;
  stop: () => Promise<void>;
}

/** Boots a machine of this name with these services, by name: what it is, and what it runs. `install` is run there. */
export function bootMachine(
  name: string,
  install: string,
  services: Record<string, [string, string]>,
): Machine {
  const folder = mkdtempSync(join(runFolder(), `${name}-`));
  const units = join(folder, "units");
  mkdirSync(units);
  writeFileSync(join(folder, "machine-id"), `${randomBytes(16).toString("hex")}\n`);
  writeFileSync(join(folder, "hostname"), `${name}\n`);
  writeFileSync(join(folder, "install.sh"), install, { mode: 0o600 });
  const begun: Record<string, string> = {
    ...JOURNAL,
    "install.service": serviceUnit("Installs the agent", [
      "Type=oneshot",
      `ExecStart=/bin/sh ${folder}/install.sh`,
    ]),
  };
  for (const [unit, [description, command]] of Object.entries(services)) {
    begun[unit] = serviceUnit(description, [`ExecStart=${command}`]);
  }
  const wants = Object.keys(begun).join(" ");
  const all: Record<string, string> = {
    ...begun,
    "machine.target": `[Unit]\nDefaultDependencies=no\nWants=${wants}\n`,
  };
  for (const target of TARGETS) all[`${target}.target`] = "[Unit]\nDefaultDependencies=no\n";
  for (const [unit, text] of Object.entries(all)) writeFileSync(join(units, unit), text);

  const group = join(controlGroups() ?? "", `gururmm-e2e-${process.pid}-${name}`);
  mkdirSync(group);
  const boot = join(folder, "boot.sh");
  writeFileSync(boot, bootScript(folder, name));
  // Its control groups begin where it is when they are set apart.
  const begin = `echo $$ >'${group}/cgroup.procs' && exec unshare "$@" --kill-child sh '${boot}'`;
  const child: ChildProcess = spawn("sh", ["-c", begin, "sh", ...APART], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  return {
    run: (command) => {
      const first = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").trim();
      const inside = ["--target", first, "--mount", "--pid", "--uts", "sh", "-c", command];
      return execFileSync("nsenter", inside, { encoding: "utf8", stdio: "pipe", timeout: 20_000 });
    },
    stop: async () => {
      await stop(child, "SIGKILL");
      await removed(group);
    },
  };
}

/** Control groups go when the last process in them has. */
async function removed(group: string) {
  for (let tries = 0; existsSync(group) && tries < 100; tries++) {
    await new Promise((done) => setTimeout(done, 50));
    spawnSync("find", [group, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
  }
}

/** From a fresh set of mounts to systemd. What is this machine's own stays out of its reach. */
function bootScript(folder: string, name: string): string {
  return `set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /usr/local/lib
mount -t tmpfs tmpfs /etc/systemd/system
cp '${folder}'/units/* /etc/systemd/system
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
for own in machine-id hostname; do
  [ ! -e /etc/$own ] || mount --bind '${folder}'/$own /etc/$own
done
[ ! -d /sys/class/dmi ] || mount -t tmpfs tmpfs /sys/class/dmi
mkdir -p /run/systemd/journald.conf.d
printf '[Journal]\\nStorage=volatile\\nReadKMsg=no\\nAudit=no\\n' >/run/systemd/journald.conf.d/own.conf
hostname '${name}'
export container=gururmm SYSTEMD_UNIT_PATH=/run/systemd/transient:/etc/systemd/system
export SYSTEMD_GENERATOR_PATH=/nowhere SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/nowhere
exec ${SYSTEMD} --system --unit=machine.target --log-target=console --show-status=0
`;
}
