import { Slot } from "radix-ui";
import { type ReactNode, useId } from "react";
import { cn } from "./cn";

/** A labelled control with its hint and its error, wired for assistive technology. The child is the control itself. */
export function Field({
  label,
  hint,
  error,
  optional = false,
  className,
  children,
}: {
  label: ReactNode;
  hint?: ReactNode;
  error?: string | undefined;
  optional?: boolean;
  className?: string;
  children: ReactNode;
}) {
  const id = useId();
  const described = [hint ? `${id}-hint` : null, error ? `${id}-error` : null]
    .filter(Boolean)
    .join(" ");
  return (
    <div className={cn("grid content-start gap-1", className)}>
      <label htmlFor={id} className="font-medium text-ink text-sm">
        {label}
        {optional && <span className="font-normal text-ink-3"> (optional)</span>}
      </label>
      <Slot.Root
        id={id}
        aria-describedby={described || undefined}
        aria-invalid={error ? true : undefined}
      >
        {children}
      </Slot.Root>
      {hint && (
        <p id={`${id}-hint`} className="text-ink-3 text-sm">
          {hint}
        </p>
      )}
      {error && (
        <p id={`${id}-error`} role="alert" className="text-crit text-sm">
          {error}
        </p>
      )}
    </div>
  );
}

/** What went wrong with the whole form. */
export function FormError({ children }: { children?: ReactNode }) {
  if (!children) return null;
  return (
    <p
      role="alert"
      className="rounded-md border border-crit/40 bg-crit-soft px-3 py-2 text-base text-crit"
    >
      {children}
    </p>
  );
}
