import { describe, expect, it } from "vitest";
import type { KeyOnce, Package, ServerInfo } from "../../api/types";
import { installerName, type Platform, recipes, whyMissing } from "./commands";

const SECRET = `gek_5_${"k7Qm2vXw9Zr4Tn8Lb6Hs1Yd5Fc3Gj0Pa".repeat(2).slice(0, 43)}`;
const CA = "0f".repeat(32);

const packageOf = (kind: Package["kind"], os: Package["os"], file: string): Package => ({
  file,
  kind,
  os,
  arch: "x86_64",
  version: "0.1.0",
  sha256: "ab".repeat(32),
  size: 1,
  signed: true,
});

const server = (ca: boolean): ServerInfo => ({
  version: "0.1.0",
  public_url: "https://rmm.example.com",
  ca_fingerprint: ca ? `sha256:${CA}` : null,
  agent_available: true,
  packages: [
    packageOf("msi", "windows", "GuruRMM.msi"),
    packageOf("deb", "linux", "gururmm-agent_0.1.0_amd64.deb"),
    { ...packageOf("deb", "linux", "gururmm-agent_0.1.0_arm64.deb"), arch: "aarch64" },
    packageOf("rpm", "linux", "gururmm-agent-0.1.0.x86_64.rpm"),
    packageOf("pkg", "macos", "GuruRMM.pkg"),
  ],
  missing_packages: [],
});

const once = (ca: boolean, url = "https://rmm.example.com"): KeyOnce => ({
  key: {} as KeyOnce["key"],
  secret: SECRET,
  install: {
    linux: `printf '%s\\n' '${SECRET}' | $(command -v sudo) sh -c 'set -eu'`,
    reason: null,
    server: url,
    site_key: `7K3MPQ2X.${SECRET}${ca ? `.${CA}` : ""}`,
  },
});

const texts = (platform: Platform, ca = false) =>
  recipes(platform, once(ca), server(ca)).map(({ text }) => text);

describe("commands of a new key", () => {
  it("gives the Windows installer both properties, everywhere", () => {
    const all = texts("windows", true);
    expect(all).toHaveLength(6);
    for (const text of all) {
      expect(text).toContain(`SITEKEY=7K3MPQ2X.${SECRET}.${CA}`);
      expect(text).toContain("SERVER=https://rmm.example.com");
    }
    expect(all[0]).toBe(
      `msiexec /i GuruRMM.msi /qn SITEKEY=7K3MPQ2X.${SECRET}.${CA} SERVER=https://rmm.example.com`,
    );
  });

  it("has nothing in a startup script that the console would expand", () => {
    const script = texts("windows").find((text) => text.startsWith("@echo off"));
    expect(script?.replace("%ProgramFiles%", "").replace("%~dp0", "")).not.toContain("%");
    expect(script?.split("\r\n")).toHaveLength(3);
  });

  it("checks what it fetched before it runs it", () => {
    const fetching = (["windows", "linux", "macos"] as const)
      .flatMap((platform) => texts(platform))
      .filter((text) => text.includes("/install/packages/"));
    expect(fetching).toHaveLength(6);
    for (const text of fetching) expect(text).toContain("ab".repeat(32));
  });

  it("leaves a certificate unchecked only where the server has a CA of its own", () => {
    const unchecked = /curl(\.exe)? -fsSk|validate_certs: false/;
    for (const platform of ["windows", "linux", "macos"] as const) {
      expect(texts(platform).join("\n")).not.toMatch(unchecked);
      expect(texts(platform, true).join("\n")).toMatch(unchecked);
    }
  });

  it("keeps the key off the command line of Linux, and out of Ansible's output", () => {
    for (const text of texts("linux")) {
      // By standard input: what stands on a command line is in the list of processes.
      expect(text.split(SECRET)).toHaveLength(2);
      expect(text).toMatch(/printf '%s\\n' 'gek_|<<END &&\nserver=\S+\nsitekey=\S+\nEND\n/);
    }
    const labels = recipes("linux", once(false), server(false)).map(({ label }) => label);
    expect(labels).toContain("With the .deb package for aarch64");
    expect(labels).toContain("With the .rpm package");
    for (const platform of ["windows", "linux"] as const) {
      const playbook = texts(platform).find((text) => text.startsWith("- hosts:"));
      expect(playbook).toContain("no_log: true");
      // What Jinja would take for its own.
      expect(playbook).not.toMatch(/\{\{|\{%|\{#/);
    }
  });

  it("names an installer as the agent reads it", () => {
    for (const [url, authority] of [
      ["https://rmm.example.com", "rmm.example.com"],
      ["https://rmm.example.com:8443", "rmm.example.com+8443"],
      ["http://127.0.0.1:3001", "http+127.0.0.1+3001"],
      ["https://[2001:db8::1]:3001", "[2001+db8++1]+3001"],
    ] as const) {
      expect(installerName(once(false, url).install, "msi")).toBe(
        `GuruRMM-${authority}@7K3MPQ2X.${SECRET}.msi`,
      );
    }
    expect(texts("macos")[0]).toContain(`/tmp/GuruRMM-rmm.example.com@7K3MPQ2X.${SECRET}.pkg`);
  });

  it("offers no command for what the server does not have, and says why", () => {
    const reason = "this server has no Windows installer; its operator builds it by ./dev dist";
    const bare: ServerInfo = {
      ...server(false),
      packages: [],
      missing_packages: [{ kind: "msi", os: "windows", reason }],
    };
    const none = { ...once(false), install: { ...once(false).install, linux: null } };
    for (const platform of ["windows", "linux", "macos"] as const) {
      expect(recipes(platform, none, bare)).toEqual([]);
    }
    expect(whyMissing(bare, "msi")).toBe(reason);
    expect(whyMissing(bare, "pkg")).toBeNull();
  });
});
