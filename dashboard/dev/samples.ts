// What the machines measure, now and in their history.
import type { MetricPoint, MetricSeries, Sample, Sensor } from "../src/api/types";
import { agents, random } from "./fixtures";

const processes = [
  [1841, "postgres", "postgres", 18.4, 612e6, "postgres: 15/main: writer process"],
  [
    2210,
    "gururmm-server",
    "gururmm",
    9.1,
    181e6,
    "/usr/bin/gururmm-server serve --data-dir /var/lib/gururmm",
  ],
  [902, "containerd", "root", 4.6, 94e6, "/usr/bin/containerd"],
  [
    5120,
    "firefox-esr",
    "maya",
    3.9,
    1480e6,
    "/usr/lib/firefox-esr/firefox-esr -contentproc -childID 4",
  ],
  [3307, "node", "maya", 2.2, 420e6, "node /srv/portal/server.js --port 8080"],
  [1, "systemd", "root", 0.3, 14e6, "/sbin/init"],
  [611, "sshd", "root", 0.1, 9e6, "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups"],
] as const;

function sensors(wave: number): Sensor[] {
  const none = { low: null, high: null, critical: null };
  return [
    {
      ...{ device: "coretemp", name: "Package id 0", kind: "temperature", ...none },
      ...{ value: 61 + wave / 4, high: 84, critical: 100, state: "normal" },
    },
    {
      ...{ device: "nct6798", name: "fan1", kind: "fan", ...none },
      ...{ value: 0, low: 300, state: "low" },
    },
    {
      ...{ device: "nct6798", name: "in0", kind: "voltage", ...none },
      ...{ value: 1.248, state: "normal" },
    },
    {
      ...{ device: "nvme ACME SSD 980 1TB", name: "Composite", kind: "temperature", ...none },
      ...{ value: 86.9, critical: 84.85, state: "critical" },
    },
    {
      ...{ device: "power_meter", name: "power1", kind: "power", ...none },
      ...{ value: 182.5, state: "normal" },
    },
  ];
}

export function sample(t: number): Sample {
  const wave = Math.sin(t / 37_000) * 14 + Math.sin(t / 9_000) * 6;
  const top = processes.map(([pid, name, user, cpu_percent, memory_bytes, command_line]) => ({
    pid,
    name,
    user,
    cpu_percent,
    memory_bytes,
    command_line,
  }));
  return {
    t: new Date(t).toISOString(),
    cpu_percent: 34 + wave,
    cpu_count: 8,
    memory_used_bytes: 9.3 * 2 ** 30 + wave * 1e7,
    memory_total_bytes: 16 * 2 ** 30,
    swap_used_bytes: 3e8,
    swap_total_bytes: 2 ** 31,
    load_1: 1.42,
    load_5: 1.18,
    load_15: 0.97,
    uptime_seconds: 1_312_000,
    boot_time: new Date(t - 1_312_000_000).toISOString(),
    logged_in_user: "maya",
    user_idle_seconds: 42,
    public_ip: "203.0.113.17",
    rx_bytes: 2e6 + wave * 5e4,
    tx_bytes: 5e5 + wave * 1e4,
    interval_seconds: 2,
    disks: [
      {
        mount: "/",
        device: "/dev/nvme0n1p2",
        file_system: "ext4",
        used_bytes: 181e9,
        total_bytes: 248e9,
      },
      {
        mount: "/srv",
        device: "/dev/sda1",
        file_system: "xfs",
        used_bytes: 3.51e12,
        total_bytes: 4e12,
      },
      {
        mount: "/boot/efi",
        device: "/dev/nvme0n1p1",
        file_system: "vfat",
        used_bytes: 7e6,
        total_bytes: 5.1e8,
      },
    ],
    top_cpu: top,
    top_memory: [...top].sort((a, b) => b.memory_bytes - a.memory_bytes),
    process_count: 287,
    sensors: {
      readings: sensors(wave),
      omitted: 0,
      unavailable: null,
    },
  };
}

/** The sample of one machine: the second shows no sensors, the third cannot, and the fourth's agent does not tell. */
export function sampleOf(agent: string | undefined, t: number): Sample {
  const none = { readings: [], omitted: 0, unavailable: null };
  const unavailable = "WMI does not answer: access is denied";
  const told = new Map<string | undefined, Sample["sensors"]>([
    [agents[1]?.id, none],
    [agents[2]?.id, { ...none, unavailable }],
    [agents[3]?.id, null],
  ]);
  const of = told.get(agent);
  return of === undefined ? sample(t) : { ...sample(t), sensors: of };
}

const STEPS = [10, 60, 300, 1_800, 7_200, 86_400];
const SOURCES = [
  { seconds: 86_400, source: "days" },
  { seconds: 3_600, source: "hours" },
  { seconds: 300, source: "five_minutes" },
  { seconds: 1, source: "samples" },
] as const;

export function series(from: number, to: number): MetricSeries {
  const least = (to - from) / 1000 / 400;
  const resolution_seconds = STEPS.find((seconds) => seconds >= least) ?? 86_400;
  const source =
    SOURCES.find(({ seconds }) => resolution_seconds % seconds === 0)?.source ?? "samples";
  const step = resolution_seconds * 1000;
  // The more a point stands for, the further its samples are apart.
  const spread = Math.log10(resolution_seconds) * 5;
  const around = (value: number, by: number, top = Number.POSITIVE_INFINITY) => ({
    min: Math.max(0, value - by * random()),
    max: Math.min(top, value + by * (1 + random())),
  });
  const points: MetricPoint[] = [];
  for (let t = from; t < to; t += step) {
    const share = (t - from) / (to - from);
    if (share > 0.58 && share < 0.64) continue;
    const day = Math.sin(share * 9) * 12 + Math.sin(share * 71) * 5;
    const busy = share > 0.8 && share < 0.84 ? 42 : 0;
    const cpu = Math.min(99, Math.max(2, 30 + day + random() * 12 + busy));
    const memory = 58 + day / 3 + random();
    const disk = 84 + share * 4;
    const rx = Math.max(0, 9e5 + day * 4e4 + random() * 3e5);
    const tx = Math.max(0, 2.4e5 + day * 1e4 + random() * 9e4);
    points.push({
      t: new Date(t).toISOString(),
      cpu_percent: cpu,
      memory_percent: memory,
      disk_percent: disk,
      load_1: 1.2,
      rx_bytes_per_second: rx,
      tx_bytes_per_second: tx,
      samples: Math.max(1, Math.round(resolution_seconds / 60)),
      cpu_percent_range: around(cpu, spread, 100),
      memory_percent_range: around(memory, spread / 4, 100),
      disk_percent_range: { min: disk, max: disk },
      load_1_range: around(1.2, 0.4),
      rx_bytes_per_second_range: around(rx, spread * 4e4),
      tx_bytes_per_second_range: around(tx, spread * 1e4),
    });
  }
  return {
    from: new Date(from).toISOString(),
    to: new Date(to).toISOString(),
    resolution_seconds,
    source,
    points,
  };
}
