const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** `1536` -> `1.5 KiB`. Binary units, at most one decimal. */
export function formatBytes(bytes: number | null | undefined): string {
  if (bytes == null || !Number.isFinite(bytes)) return "–";
  let value = Math.max(0, bytes);
  let unit = 0;
  while (value >= 1024 && unit < BYTE_UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${BYTE_UNITS[unit]}`;
}

export function formatRate(bytesPerSecond: number | null | undefined): string {
  if (bytesPerSecond == null) return "–";
  return `${formatBytes(bytesPerSecond)}/s`;
}

/** `12.34` -> `12.3 %`. */
export function formatPercent(percent: number | null | undefined, digits = 1): string {
  if (percent == null || !Number.isFinite(percent)) return "–";
  return `${percent.toFixed(digits)}\u2009%`;
}

/** `93784` -> `1 d 2 h`; the two largest units that matter. */
export function formatDuration(seconds: number | null | undefined): string {
  if (seconds == null || !Number.isFinite(seconds)) return "–";
  let rest = Math.max(0, Math.round(seconds));
  if (rest < 1) return "0 s";
  const parts: string[] = [];
  for (const [unit, size] of [
    ["d", 86_400],
    ["h", 3_600],
    ["min", 60],
    ["s", 1],
  ] as const) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0) parts.push(`${count} ${unit}`);
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}

/** How long a run took: `340 ms`, `4.2 s`, `2 min 5 s`. */
export function formatElapsed(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.max(0, Math.round(milliseconds))} ms`;
  if (milliseconds < 60_000) return `${(milliseconds / 1000).toFixed(1)} s`;
  return formatDuration(milliseconds / 1000);
}

/** How far a machine's clock is from the server's: `right`, `10 h ahead`, `6 min behind`; nothing when unknown. */
export function formatClockOffset(milliseconds: number | null | undefined): string | null {
  if (milliseconds == null) return null;
  // What the message took on its way is in it.
  if (Math.abs(milliseconds) < 5_000) return "right";
  const size = formatDuration(Math.abs(milliseconds) / 1000);
  return `${size} ${milliseconds > 0 ? "ahead" : "behind"}`;
}

/** `just now`, `42 s ago`, `5 min ago`, `3 h ago`, `2 d ago`; future times read `in 5 min`. */
export function formatRelative(time: string | number | Date, now: number = Date.now()): string {
  const at = new Date(time).getTime();
  if (Number.isNaN(at)) return "–";
  const seconds = Math.round((now - at) / 1000);
  const size = Math.abs(seconds);
  // The server's clock may run a little ahead of this one.
  if (seconds < 5 && seconds > -10) return "just now";
  const text =
    size < 60
      ? `${size} s`
      : size < 3_600
        ? `${Math.floor(size / 60)} min`
        : size < 86_400
          ? `${Math.floor(size / 3_600)} h`
          : `${Math.floor(size / 86_400)} d`;
  return seconds >= 0 ? `${text} ago` : `in ${text}`;
}

const dateTime = new Intl.DateTimeFormat(undefined, {
  year: "numeric",
  month: "short",
  day: "2-digit",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});

export function formatDateTime(time: string | number | Date): string {
  const at = new Date(time);
  return Number.isNaN(at.getTime()) ? "–" : dateTime.format(at);
}

const integer = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });

export function formatCount(value: number): string {
  return integer.format(value);
}

/** `1 agent`, `2,000 agents`. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

const OS_NAMES: Record<string, string> = { linux: "Linux", windows: "Windows", macos: "macOS" };

export function formatOs(osType: string): string {
  return OS_NAMES[osType] ?? osType;
}

/** `Debian GNU/Linux 12 (bookworm)` -> `Debian 12`: what tells systems apart, where room is short. */
export function formatSystem(osVersion: string): string {
  return osVersion
    .replace(/ GNU\/Linux\b/, "")
    .replace(/ \([^)]*\)$/, "")
    .trim();
}
