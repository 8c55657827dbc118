import { Link } from "@tanstack/react-router";
import { ArrowDown, ArrowLeft, ArrowUp } from "lucide-react";
import { type ReactNode, useEffect, useState } from "react";
import type { Agent } from "../../api/types";
import { formatBytes, formatDateTime, formatDuration, formatElapsed } from "../../lib/format";
import { Status, type Tone } from "../../ui/badge";
import { Button } from "../../ui/button";
import type { Phase, Tunnel, TunnelState } from "./session";
import { useTunnelFigures } from "./tunnel-react";

const PHASES: Record<Phase, { tone: Tone; words: string }> = {
  idle: { tone: "idle", words: "Connecting" },
  connecting: { tone: "idle", words: "Connecting" },
  waiting: { tone: "warn", words: "Waiting for the machine" },
  ready: { tone: "ok", words: "Connected" },
  lost: { tone: "warn", words: "Link lost" },
  replaced: { tone: "idle", words: "In another window" },
  refused: { tone: "crit", words: "Refused" },
  closed: { tone: "idle", words: "Over" },
};

/** Who is on which machine, since when, and how good the way is. */
export function SessionHeader({
  agent,
  tunnel,
  state,
  isEnding,
  onEnd,
}: {
  agent: Agent;
  tunnel: Tunnel;
  state: TunnelState;
  isEnding: boolean;
  onEnd: () => void;
}) {
  const { facts, phase, ready } = state;
  const { tone, words } = PHASES[phase];
  const isOver = phase === "closed" || phase === "refused";
  useEffect(() => {
    document.title = `Session with ${agent.hostname} - GuruRMM`;
  }, [agent.hostname]);
  return (
    <header className="flex shrink-0 flex-wrap items-center gap-x-4 gap-y-1 px-3 pt-2.5 pb-1.5 sm:px-4">
      <Button asChild size="iconSm" variant="quiet" className="-mr-2 -ml-1">
        <Link
          to="/agents/$agentId"
          params={{ agentId: agent.id }}
          aria-label={`Back to ${agent.hostname}`}
        >
          <ArrowLeft aria-hidden />
        </Link>
      </Button>
      <h1 className="min-w-0 truncate font-semibold text-lg">
        <span className="sr-only">Session with </span>
        {agent.hostname}
      </h1>
      <Status tone={tone} pulse={phase === "ready"} className="text-base">
        {words}
      </Status>
      <dl className="order-last flex w-full flex-wrap items-center gap-x-4 gap-y-0.5 text-ink-2 text-sm lg:order-none lg:w-auto lg:flex-1">
        {facts && (
          <>
            <Figure label="Tech">{facts.tech}</Figure>
            <Figure
              label="Open since"
              title={`Opened ${formatDateTime(facts.opened_at)}, ends at the latest ${formatDateTime(facts.ends_at)}`}
            >
              <Elapsed since={facts.opened_at} stopped={isOver} />
            </Figure>
          </>
        )}
        <Way tunnel={tunnel} path={phase === "ready" ? (ready?.path ?? null) : null} />
      </dl>
      {!isOver && (
        <Button
          size="sm"
          variant="dangerOutline"
          className="ml-auto"
          busy={isEnding}
          onClick={onEnd}
        >
          End session
        </Button>
      )}
    </header>
  );
}

function Figure({
  label,
  title,
  children,
}: {
  label: string;
  title?: string;
  children: ReactNode;
}) {
  return (
    <div className="flex items-center gap-1 whitespace-nowrap" title={title}>
      <dt className="sr-only">{label}</dt>
      <dd className="flex items-center gap-0.5">{children}</dd>
    </div>
  );
}

function Way({ tunnel, path }: { tunnel: Tunnel; path: "direct" | "relayed" | null }) {
  const { latencyMs, receivedBytes, sentBytes } = useTunnelFigures(tunnel);
  return (
    <>
      {path && (
        <Figure
          label="Way"
          title={
            path === "direct"
              ? "The machine is connected to the same server as this page."
              : "The machine is connected to another server of this installation, which passes everything on."
          }
        >
          {path}
          {latencyMs !== null && `, ${formatElapsed(latencyMs)} there and back`}
        </Figure>
      )}
      <Figure label="Received" title="Received in this window">
        <ArrowDown aria-hidden className="size-3.5" />
        {formatBytes(receivedBytes)}
      </Figure>
      <Figure label="Sent" title="Sent from this window">
        <ArrowUp aria-hidden className="size-3.5" />
        {formatBytes(sentBytes)}
      </Figure>
    </>
  );
}

function Elapsed({ since, stopped }: { since: string; stopped: boolean }) {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (stopped) return;
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, [stopped]);
  return formatDuration(Math.max(0, (now - new Date(since).getTime()) / 1000));
}
