import { Check } from "lucide-react";
import { cn } from "./cn";

/** Where someone is in a sequence of steps. */
export function Steps({ steps, current }: { steps: readonly string[]; current: number }) {
  return (
    <ol className="flex gap-1.5" aria-label="Progress">
      {steps.map((step, index) => {
        const state = index < current ? "done" : index === current ? "current" : "ahead";
        return (
          <li
            key={step}
            aria-current={state === "current" ? "step" : undefined}
            className="grid min-w-0 flex-1 gap-2"
          >
            <span
              aria-hidden
              className={cn("h-1 rounded-full", state === "ahead" ? "bg-line-strong" : "bg-accent")}
            />
            <span
              className={cn(
                "flex items-center gap-1 truncate text-sm",
                state === "current" ? "font-medium text-ink" : "text-ink-3",
              )}
            >
              {state === "done" && <Check aria-label="Done:" className="size-3.5 text-accent" />}
              {step}
            </span>
          </li>
        );
      })}
    </ol>
  );
}
