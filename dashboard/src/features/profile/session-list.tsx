import type { Session } from "../../api/types";
import { Badge } from "../../ui/badge";
import { Button } from "../../ui/button";
import { RelativeTime } from "../../ui/time";

/** Where someone is signed in. */
export function SessionList({
  sessions,
  onEnd,
  ending,
}: {
  sessions: readonly Session[];
  onEnd?: (session: Session) => void;
  ending?: string;
}) {
  return (
    <ul className="divide-y divide-line border-t">
      {sessions.map((session) => (
        <li key={session.id} className="flex flex-wrap items-center gap-x-4 gap-y-1 px-4 py-2.5">
          <div className="min-w-0 flex-1">
            <p className="flex flex-wrap items-center gap-2 text-base">
              <span className="truncate" title={session.user_agent ?? undefined}>
                {session.kind === "api" ? "API client" : browserName(session.user_agent)}
              </span>
              {session.current && <Badge tone="accent">this one</Badge>}
            </p>
            <p className="text-ink-2 text-sm">
              <span className="font-mono text-xs">{session.ip ?? "unknown address"}</span>, used{" "}
              <RelativeTime time={session.last_used_at} />, since{" "}
              <RelativeTime time={session.created_at} />
            </p>
          </div>
          {onEnd && !session.current && (
            <Button size="sm" busy={ending === session.id} onClick={() => onEnd(session)}>
              End
            </Button>
          )}
        </li>
      ))}
    </ul>
  );
}

const BROWSERS: readonly [RegExp, string][] = [
  [/Edg\//, "Edge"],
  [/OPR\//, "Opera"],
  [/Firefox\//, "Firefox"],
  [/Chrome\//, "Chrome"],
  [/Safari\//, "Safari"],
];
const SYSTEMS: readonly [RegExp, string][] = [
  [/Android/, "Android"],
  [/iPhone|iPad/, "iOS"],
  [/Windows/, "Windows"],
  [/Mac OS X/, "macOS"],
  [/Linux/, "Linux"],
];

/** `Firefox on Linux`; what the program calls itself when it is none of the known ones. */
export function browserName(userAgent: string | null): string {
  if (!userAgent) return "Unknown browser";
  const browser = BROWSERS.find(([pattern]) => pattern.test(userAgent))?.[1];
  const system = SYSTEMS.find(([pattern]) => pattern.test(userAgent))?.[1];
  if (!browser) return userAgent.slice(0, 60);
  return system ? `${browser} on ${system}` : browser;
}
