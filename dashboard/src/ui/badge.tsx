import type { ReactNode } from "react";
import { cn } from "./cn";

export type Tone = "ok" | "warn" | "crit" | "accent" | "idle";

const SOFT: Record<Tone, string> = {
  ok: "bg-ok-soft text-ok",
  warn: "bg-warn-soft text-warn",
  crit: "bg-crit-soft text-crit",
  accent: "bg-accent-soft text-accent",
  idle: "bg-idle-soft text-ink-2",
};

const DOT: Record<Tone, string> = {
  ok: "bg-ok",
  warn: "bg-warn",
  crit: "bg-crit",
  accent: "bg-accent",
  idle: "border-[1.5px] border-idle bg-transparent",
};

export function Badge({
  tone = "idle",
  children,
  className,
}: {
  tone?: Tone;
  children: ReactNode;
  className?: string;
}) {
  return (
    <span
      className={cn(
        "inline-flex h-5 items-center gap-1 whitespace-nowrap rounded-sm px-1.5 font-medium text-xs",
        SOFT[tone],
        className,
      )}
    >
      {children}
    </span>
  );
}

/** A state in words with a mark of its colour; a hollow mark means nothing is happening. */
export function Status({
  tone,
  children,
  pulse = false,
  className,
}: {
  tone: Tone;
  children: ReactNode;
  pulse?: boolean;
  className?: string;
}) {
  return (
    <span className={cn("inline-flex items-center gap-2 whitespace-nowrap", className)}>
      <span
        aria-hidden
        className={cn("size-2 shrink-0 rounded-full", DOT[tone], pulse && "animate-breathe")}
      />
      {children}
    </span>
  );
}
