// What to type, and where, so that a machine joins a site. Pure: everything comes from a key that was just made and from
// what the server hands out. None of the words needs quoting in any shell: keys, codes and addresses have no such character.
import type { KeyOnce, Package, ServerInfo } from "../../api/types";

export type Platform = "windows" | "linux" | "macos";

export interface Recipe {
  /** Where it goes. */
  label: string;
  text: string;
  copyLabel: string;
  /** What one must know beforehand. */
  hint?: string;
}

/** Where a package puts the agent's program. */
const PROGRAM = {
  windows: "%ProgramFiles%\\GuruRMM\\gururmm-agent.exe",
  linux: "/usr/local/lib/gururmm/gururmm-agent",
} as const;

/** The packages of a kind: one for each processor. */
export function packagesOf(server: Pick<ServerInfo, "packages">, kind: Package["kind"]): Package[] {
  return server.packages.filter((entry) => entry.kind === kind);
}

/** Which processor, where there is a choice. */
export function forProcessor(entry: Package, among: readonly Package[]): string {
  return among.length > 1 ? ` for ${entry.arch}` : "";
}

/** Why there is none, as the server says. */
export function whyMissing(server: Pick<ServerInfo, "missing_packages">, kind: Package["kind"]) {
  return server.missing_packages.find((entry) => entry.kind === kind)?.reason ?? null;
}

/** The name under which a generic installer knows its server and site; `gururmm_protocol::installer` reads it. */
export function installerName({ server, site_key }: KeyOnce["install"], extension: string) {
  const authority = server.replace(/^https:\/\//, "").replace(/^http:\/\//, "http:");
  return `GuruRMM-${authority.replaceAll(":", "+")}@${site_key}.${extension}`;
}

/** The steps for a platform, the commonest first. */
export function recipes(platform: Platform, once: KeyOnce, server: ServerInfo): Recipe[] {
  switch (platform) {
    case "windows":
      return windows(once.install, server);
    case "linux":
      return linux(once, server);
    case "macos":
      return macos(once.install, server);
  }
}

/** An address of the server's own CA is nobody's root yet: the checksum, which came with this page, vouches for the file. */
const insecure = (server: ServerInfo) => (server.ca_fingerprint ? "k" : "");

function windows(install: KeyOnce["install"], server: ServerInfo): Recipe[] {
  const [msi] = packagesOf(server, "msi");
  if (!msi) return [];
  const properties = `SITEKEY=${install.site_key} SERVER=${install.server}`;
  const url = `${install.server}/install/packages/${msi.file}`;
  const path = `C:\\Windows\\Temp\\${msi.file}`;
  return [
    {
      label: "In a console with administrator's rights, beside the installer",
      copyLabel: "Copy command",
      text: `msiexec /i ${msi.file} /qn ${properties}`,
    },
    {
      label: "In PowerShell with administrator's rights: fetch, check and install",
      copyLabel: "Copy script",
      text: [
        `$file = "$env:TEMP\\${msi.file}"`,
        `curl.exe -fsS${insecure(server)} -o $file ${url}`,
        `if ((Get-FileHash $file -Algorithm SHA256).Hash -ne '${msi.sha256}') { throw 'The file is not what the server promised.' }`,
        `Start-Process msiexec.exe -Wait -ArgumentList "/i \`"$file\`" /qn ${properties}"`,
      ].join("\n"),
    },
    {
      label: "Group Policy: a computer startup script (.cmd)",
      copyLabel: "Copy script",
      hint: "Put the installer and the script where the domain's computers can read them. Software Installation in Group Policy passes no properties: use the script.",
      text: [
        "@echo off",
        `if exist "${PROGRAM.windows}" exit /b 0`,
        `msiexec /i "%~dp0${msi.file}" /qn ${properties}`,
      ].join("\r\n"),
    },
    {
      label: "Intune: install command of a Windows app (Win32)",
      copyLabel: "Copy command",
      hint: `Detect it by the file ${PROGRAM.windows}.`,
      text: `msiexec /i "${msi.file}" /qn ${properties}`,
    },
    {
      label: "Intune: command-line arguments of a line-of-business app",
      copyLabel: "Copy arguments",
      text: properties,
    },
    {
      label: "Ansible",
      copyLabel: "Copy playbook",
      text: [
        "- hosts: windows",
        "  tasks:",
        "    - name: Fetch the GuruRMM installer",
        "      ansible.windows.win_get_url:",
        `        url: ${url}`,
        `        dest: ${path}`,
        `        checksum: ${msi.sha256}`,
        "        checksum_algorithm: sha256",
        ...(server.ca_fingerprint ? ["        validate_certs: false"] : []),
        "    - name: Install the GuruRMM agent",
        "      ansible.windows.win_package:",
        `        path: ${path}`,
        "        arguments:",
        `          - SITEKEY=${install.site_key}`,
        `          - SERVER=${install.server}`,
        "        state: present",
        "      no_log: true",
      ].join("\n"),
    },
  ];
}

function linux(once: KeyOnce, server: ServerInfo): Recipe[] {
  const { install } = once;
  const oneLiner: Recipe[] = install.linux
    ? [
        {
          label: "Run this on a Linux machine",
          copyLabel: "Copy command",
          text: install.linux,
        },
      ]
    : [];
  const packaged = (["deb", "rpm"] as const).flatMap((kind) => {
    const all = packagesOf(server, kind);
    return all.map((entry) => {
      const path = `/tmp/${entry.file}`;
      return {
        label: `With the .${kind} package${forProcessor(entry, all)}`,
        copyLabel: "Copy commands",
        hint: "As root. The package enrolls the machine with what the file says, and removes the file.",
        text: [
          `curl -fsS${insecure(server)} -o ${path} ${install.server}/install/packages/${entry.file}`,
          `echo "${entry.sha256}  ${path}" | sha256sum -c - &&`,
          "  install -d -m 755 /etc/gururmm &&",
          "  install -m 600 /dev/stdin /etc/gururmm/enroll.conf <<END &&",
          `server=${install.server}`,
          `sitekey=${install.site_key}`,
          "END",
          `  ${kind === "deb" ? "apt-get install -y" : "dnf install -y"} ${path}`,
        ].join("\n"),
      };
    });
  });
  const ansible: Recipe[] = install.linux
    ? [
        {
          label: "Ansible",
          copyLabel: "Copy playbook",
          text: [
            "- hosts: linux",
            "  become: true",
            "  tasks:",
            "    - name: Install the GuruRMM agent",
            "      ansible.builtin.shell:",
            `        creates: ${PROGRAM.linux}`,
            "        cmd: |",
            `          ${install.linux}`,
            "      no_log: true",
          ].join("\n"),
        },
      ]
    : [];
  return [...oneLiner, ...packaged, ...ansible];
}

function macos(install: KeyOnce["install"], server: ServerInfo): Recipe[] {
  const all = packagesOf(server, "pkg");
  return all.map((entry) => {
    const path = `/tmp/${installerName(install, "pkg")}`;
    return {
      label: `In a terminal: fetch, check and install${forProcessor(entry, all)}`,
      copyLabel: "Copy commands",
      hint: "The name of the file tells the package where the machine belongs: leave it as it is.",
      text: [
        `curl -fsS${insecure(server)} -o '${path}' ${install.server}/install/packages/${entry.file}`,
        `echo "${entry.sha256}  ${path}" | shasum -a 256 -c - &&`,
        `  sudo installer -pkg '${path}' -target /`,
      ].join("\n"),
    };
  });
}
