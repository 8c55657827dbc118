// What the stand-in for the server answers.
import type { Agent, AgentVirtualization } from "../src/api/types";
import {
  agentCrashes,
  agentLogs,
  agents,
  agentUpdates,
  ago,
  alerts,
  audit,
  CLIENTS,
  commands,
  connections,
  DIGEST,
  duplicates,
  id,
  keyOnce,
  keys,
  logText,
  NOW,
  nodes,
  OUTPUT,
  protocols,
  published,
  retiredAgent,
  rollouts,
  server,
  session,
  sites,
  status,
  uninstalls,
  updateState,
  users,
  versions,
  waiting,
} from "./fixtures";
import { SESSION } from "./machine";
import { CAST, recordedEvents, recording, recordingDetail, sessionsWith } from "./recorded";
import { sampleOf, series } from "./samples";

const siteCounts = (siteId: string) => {
  const here = agents.filter((agent) => agent.site_id === siteId);
  return {
    agents_total: here.length,
    agents_online: here.filter((agent) => agent.is_connected).length,
  };
};
const page = <T>(items: T[]) => ({ items, next_cursor: null, total: items.length });

/** What the machines of the list are: some virtual ones, and one that hosts others. */
function virtualizationOf(agent: Agent): AgentVirtualization | null {
  if (agent.machine_type === null) return null;
  const none = { hypervisor: null, cloud: null, vm_uuid: null, container: null, host: null };
  const { machine_type } = agent;
  if (machine_type === "virtual_machine") {
    const vm_uuid = "ec2e1916-9099-4caf-bd21-012345abcdef";
    return { ...none, machine_type, hypervisor: "kvm", cloud: "aws", vm_uuid, appliance: null };
  }
  const running = [true, true, false];
  const machines = running.map((running, n) => ({
    name: `vm-0${n + 1}`,
    uuid: id(16, n),
    running,
  }));
  const host = { kind: "proxmox" as const, machines, total: 3, unlisted: null };
  return { ...none, machine_type, host, appliance: null };
}

/** The answer to a request, or undefined for 404. */
export function answer(method: string, url: URL): unknown {
  const { pathname: path, searchParams: query } = url;
  const part = path.split("/");
  if (path === "/api/v1/session") return session;
  if (path === "/api/v1/setup/check") return null;
  if (path === "/api/v1/setup") {
    const [site] = sites;
    return {
      session,
      site: { id: site?.id, code: site?.code, name: site?.name },
      client: { id: site?.client_id, name: site?.client_name },
      partner: session.partner,
      enrollment_key: keyOnce,
    };
  }
  if (path === "/api/v1/invitations/check") {
    return {
      email: "priya@example.com",
      name: "Priya Natarajan",
      partner_name: "Northwind IT",
      has_account: false,
    };
  }
  if (path === "/api/v1/tunnel/sessions") {
    return page(
      sessionsWith.filter(
        ({ status, agent_id }) =>
          (!query.get("status") || status === query.get("status")) &&
          (!query.get("agent_id") || agent_id === query.get("agent_id")),
      ),
    );
  }
  if (path === "/api/v1/recordings") return page([recording]);
  if (path.startsWith("/api/v1/recordings/")) {
    if (path.endsWith("/cast")) return CAST;
    return path.endsWith("/events") ? page([...recordedEvents]) : recordingDetail;
  }
  if (path === "/api/v1/tunnel/open") return { session_id: SESSION.ready, status: "active" };
  if (path === "/api/v1/tunnel/close") return { status: "closed" };
  if (/tunnel\/[^/]+\/ticket$/.test(path)) return { ticket: "t", expires_at: ago(-30) };
  if (path === "/api/v1/live/ticket") return { ticket: "t", expires_in_seconds: 30 };
  if (path === "/api/v1/tree") {
    return {
      partner: session.partner,
      clients: CLIENTS.map(([name], c) => ({
        id: id(4, c),
        name,
        sites: sites
          .filter((site) => site.client_id === id(4, c))
          .map(({ id: siteId, name: siteName, code }) => ({
            id: siteId,
            name: siteName,
            code,
            ...siteCounts(siteId),
          })),
      })),
    };
  }
  if (path === "/api/v1/overview") {
    const online = agents.filter((agent) => agent.status === "online").length;
    const pending = agents.filter((agent) => agent.status === "pending").length;
    return {
      agents: { total: agents.length, online, offline: agents.length - online - pending, pending },
      alerts: { open: 4, acknowledged: 2, critical: 1, warning: 2, info: 1 },
      clients_total: CLIENTS.length,
      sites_total: sites.length,
      commands: { running: 1, queued: 3, failed_24h: 2 },
      attention: agents
        .filter((agent) => agent.status === "offline" || agent.open_alerts)
        .slice(0, 8),
      recent_commands: commands.slice(0, 8),
      os: [
        { os_type: "linux", count: 960 },
        { os_type: "windows", count: 960 },
        { os_type: "macos", count: 480 },
      ],
    };
  }
  if (path === "/api/v1/agents") {
    const start = Number(query.get("cursor") ?? 0);
    const limit = Number(query.get("limit") ?? 50);
    const found = agents.filter(
      (agent) =>
        (!query.get("search") || agent.hostname.includes(query.get("search") ?? "")) &&
        (!query.get("status") || agent.status === query.get("status")) &&
        (!query.get("site_id") || agent.site_id === query.get("site_id")) &&
        (!query.get("client_id") || agent.client_id === query.get("client_id")),
    );
    const measure = (
      { disk: "disk_percent", memory: "memory_percent", cpu: "cpu_percent" } as const
    )[query.get("sort") ?? ""];
    if (measure && query.get("order") === "desc")
      found.sort((a, b) => (b[measure] ?? -1) - (a[measure] ?? -1));
    const next = start + limit;
    return {
      items: found.slice(start, next),
      next_cursor: next < found.length ? String(next) : null,
      total: found.length,
    };
  }
  if (path === "/api/v1/approvals") {
    return method === "POST"
      ? waiting.slice(0, 2).map(({ agent }, n) => ({
          agent_id: agent.id,
          approved_as: n ? null : agent.id,
          problem: n
            ? { code: "AGENT_NOT_PENDING", detail: "The machine does not wait for approval" }
            : null,
        }))
      : page(waiting);
  }
  if (path.endsWith("/duplicates")) return duplicates;
  if (path.endsWith("/reenroll")) return keyOnce;
  if (/\/uninstall(\/cancel)?$/.test(path)) return [...uninstalls.values()][0];
  if (/^\/api\/v1\/agents\/[^/]+$/.test(path)) {
    const agent = [...agents, retiredAgent].find((entry) => entry.id === part[4]);
    return (
      agent && {
        agent,
        uninstall: uninstalls.get(agent.id) ?? null,
        hardware: {
          cpu_model: "AMD Ryzen 7 PRO 7840U",
          cpu_cores: 8,
          memory_bytes: 2 ** 34,
          manufacturer: "Lenovo",
          model: "ThinkCentre M75q Gen 5",
          serial: "PC2K4X9Q",
          kernel: "6.1.0-31-amd64",
        },
        virtualization: virtualizationOf(agent),
        network: {
          interfaces: [
            {
              name: "enp1s0",
              mac: "02:00:5e:10:00:17",
              up: true,
              ipv4: ["192.0.2.17/24"],
              ipv6: ["2001:db8::17/64", "fe80::5eff:fe10:17/64"],
              subnets: ["192.0.2.0/24", "2001:db8::/64"],
            },
            {
              name: "wlp2s0",
              mac: "02:00:5e:10:00:18",
              up: false,
              ipv4: [],
              ipv6: [],
              subnets: [],
            },
          ],
          gateway: "192.0.2.1",
          dns: ["192.0.2.1", "2001:db8::1"],
          received_at: ago(9000),
        },
        machine_uid: "smbios:4c4c4544-0051-4b10-8052-b7c04f365931",
        board_serial: "/9XK2L34/CNWS2000C1003F/",
        disk_serial: "S6P7NS0W402817",
        boot_time: ago(1_312_000),
      }
    );
  }
  if (path.endsWith("/metrics/at")) {
    const time = query.get("time") ? new Date(query.get("time") ?? "").getTime() : NOW;
    return sampleOf(part[4], time);
  }
  if (path.endsWith("/metrics/gaps")) {
    const gap = {
      from: ago(9_400),
      to: ago(8_200),
      count: 14,
      reason: "outbox_full",
      error: null,
      received_at: ago(8_000),
    };
    const span = { from: query.get("from"), to: query.get("to") };
    return { ...span, gaps: part[4] === agents[0]?.id ? [gap] : [] };
  }
  if (path.endsWith("/metrics")) {
    return series(
      new Date(query.get("from") ?? "").getTime(),
      new Date(query.get("to") ?? "").getTime(),
    );
  }
  if (/agents\/[^/]+\/logs$/.test(path)) {
    return method === "POST"
      ? agentLogs.find(({ status }) => status === "requested")
      : agentLogs.filter(({ agent_id }) => agent_id === part[4]);
  }
  if (/agents\/[^/]+\/crashes$/.test(path)) {
    return agentCrashes.filter(({ agent_id }) => agent_id === part[4]);
  }
  if (part[3] === "agent-logs") {
    const log = agentLogs.find((entry) => entry.id === part[4]);
    return (
      log && {
        log,
        text: logText(Math.round(log.received_bytes / 130), new Date(log.requested_at).getTime()),
      }
    );
  }
  if (part[3] === "agent-crashes") {
    const crash = agentCrashes.find((entry) => entry.id === part[4]);
    return crash && { crash, text: logText(240, new Date(crash.crashed_at).getTime()) };
  }
  if (/agents\/[^/]+\/connections$/.test(path)) {
    // One that is away has only what is over.
    const away = agents.find(({ id }) => id === part[4])?.status === "offline";
    return page(away ? connections.slice(1) : connections);
  }
  if (/agents\/[^/]+\/updates$/.test(path)) return page(agentUpdates);
  if (/agents\/[^/]+\/update-state$/.test(path)) {
    // One machine is on its way; the others could be.
    return part[4] === agents[0]?.id ? updateState : { ...updateState, open: null };
  }
  if (path === "/api/v1/updates/releases") return published;
  if (path === "/api/v1/updates/versions") return versions;
  if (path === "/api/v1/updates/protocols") return protocols;
  if (path === "/api/v1/updates/rollouts") return page(rollouts);
  if (/agents\/[^/]+\/policy$/.test(path)) {
    return {
      fields: [
        {
          name: "metrics_interval_seconds",
          value: 30,
          source: { scope: "client", id: id(4, 0), name: "Acme Manufacturing" },
        },
        { name: "process_list", value: true, source: { scope: "default", id: null, name: null } },
        {
          name: "public_ip",
          value: false,
          source: { scope: "partner", id: id(3, 1), name: "Northwind IT" },
        },
      ],
    };
  }
  if (path.startsWith("/api/v1/policies/")) {
    return {
      settings: { metrics_interval_seconds: 30 },
      updated_at: ago(90_000),
      updated_by_name: "Jonas Reuter",
    };
  }
  if (path === "/api/v1/commands") return page(commands);
  if (path.endsWith("/output")) {
    return query.get("after_seq") === "0"
      ? {
          chunks: OUTPUT.map((text, n) => ({
            seq: n + 1,
            stream: n === 5 ? "stderr" : "stdout",
            text,
          })),
          complete: false,
        }
      : { chunks: [], complete: true };
  }
  if (part[3] === "commands") return commands.find((command) => command.id === part[4]);
  if (path === "/api/v1/alerts")
    return page(query.get("status") === "open" || !query.get("status") ? alerts : []);
  if (path === "/api/v1/users") return page(users);
  if (path.endsWith("/sessions")) {
    return page([
      {
        id: id(1, 1),
        kind: "dashboard",
        created_at: ago(9000),
        last_used_at: ago(10),
        expires_at: ago(-40000),
        ip: "198.51.100.23",
        user_agent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        current: true,
      },
      {
        id: id(1, 2),
        kind: "dashboard",
        created_at: ago(190000),
        last_used_at: ago(60000),
        expires_at: ago(-40000),
        ip: "198.51.100.99",
        user_agent:
          "Mozilla/5.0 (iPhone; CPU iPhone OS 18_3 like Mac OS X) AppleWebKit/605.1.15 Version/18.3 Mobile Safari/604.1",
        current: false,
      },
      {
        id: id(1, 3),
        kind: "api",
        created_at: ago(590000),
        last_used_at: ago(300),
        expires_at: ago(-40000),
        ip: "203.0.113.8",
        user_agent: "curl/8.5.0",
        current: false,
      },
    ]);
  }
  if (path === "/api/v1/audit") return { ...page(audit), next_cursor: "30", total: 812 };
  if (path === "/api/v1/audit/verify")
    return { ok: true, entries: 812, head: "9f3c", first_bad_seq: null };
  if (path === "/api/v1/partner")
    return { id: id(3, 1), name: "Northwind IT", retention_days: 90, created_at: ago(9e6) };
  if (path === "/api/v1/partners") {
    return page([
      { id: id(3, 1), name: "Northwind IT", retention_days: 90, created_at: ago(9e6) },
      { id: id(3, 2), name: "Harbour Systems", retention_days: 365, created_at: ago(5e6) },
    ]);
  }
  if (path === "/api/v1/server") return server;
  if (path === "/api/v1/system/follow-me") {
    return {
      key: "SGVyZSBzdGFuZCB0aGlydHktdHdvIGJ5dGVzLi4uLi4=",
      record: {
        serial: 2,
        server_url: "https://rmm.northwind.example.com",
        ca_fingerprint: `sha256:${DIGEST}`,
        not_before: ago(7_200),
        expires_at: ago(-364 * 86_400),
        set_at: ago(7_200),
        set_by: "Maya Lindqvist",
      },
      confirmed: 2_104,
      waiting: 71,
      not_following: [
        {
          has_tried: true,
          error_code: "NOT_WELCOMED",
          error: "cannot connect to the server: Connection refused (os error 111)",
          agents: 6,
        },
        {
          has_tried: false,
          error_code: "SIGNATURE",
          error: "the record is not signed with this installation's key",
          agents: 1,
        },
      ],
    };
  }
  if (path === "/api/v1/system/status") return status;
  if (path === "/api/v1/system/nodes") return nodes;
  if (path.endsWith("/enrollment-keys")) return method === "POST" ? keyOnce : page(keys);
  if (path.endsWith("/rotate")) return keyOnce;
  if (path.endsWith("/install-reports")) {
    return page([
      {
        id: id(12, 1),
        stage: "download",
        error: "curl: (28) Failed to connect to rmm.example.com port 443 after 21006 ms",
        hostname: "acm-lap-077",
        os_type: "linux",
        agent_version: null,
        ip: "198.51.100.44",
        reported_at: ago(7000),
      },
    ]);
  }
  if (part[3] === "clients" && part[4]) {
    const n = CLIENTS.findIndex((_, c) => id(4, c) === part[4]);
    const own = agents.filter((agent) => agent.client_id === part[4]);
    return n < 0
      ? undefined
      : {
          id: part[4],
          name: CLIENTS[n]?.[0],
          created_at: ago(8e6),
          sites_total: 3,
          agents_total: own.length,
          agents_online: own.filter((agent) => agent.is_connected).length,
        };
  }
  if (part[3] === "sites" && part[4]) {
    const site = sites.find((entry) => entry.id === part[4]);
    return site && { ...site, ...siteCounts(site.id) };
  }
  return undefined;
}
