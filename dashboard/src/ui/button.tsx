import { cva, type VariantProps } from "class-variance-authority";
import { LoaderCircle } from "lucide-react";
import { Slot } from "radix-ui";
import type { ComponentProps } from "react";
import { cn } from "./cn";
import { Tooltip } from "./tooltip";

const button = cva(
  "inline-flex shrink-0 select-none items-center justify-center gap-1.5 whitespace-nowrap rounded-md font-medium transition-colors disabled:cursor-not-allowed disabled:opacity-55 aria-disabled:cursor-not-allowed aria-disabled:opacity-55 [&_svg]:size-4 [&_svg]:shrink-0",
  {
    variants: {
      variant: {
        primary: "bg-accent text-accent-ink not-aria-disabled:hover:bg-accent-strong",
        outline: "border border-line-strong bg-surface text-ink not-aria-disabled:hover:bg-hover",
        quiet: "text-ink-2 not-aria-disabled:hover:bg-hover not-aria-disabled:hover:text-ink",
        danger: "bg-crit-fill text-white not-aria-disabled:hover:brightness-110",
        dangerOutline:
          "border border-line-strong bg-surface text-crit not-aria-disabled:hover:border-crit not-aria-disabled:hover:bg-crit-soft",
      },
      size: {
        sm: "h-7 px-2.5 text-sm",
        md: "h-8 px-3 text-base",
        lg: "h-10 px-4 text-base",
        icon: "size-8",
        iconSm: "size-7",
      },
    },
    defaultVariants: { variant: "outline", size: "md" },
  },
);

export interface ButtonProps extends ComponentProps<"button">, VariantProps<typeof button> {
  asChild?: boolean;
  busy?: boolean;
  /** Why the button cannot be used. It stays focusable, so that the reason can be read. */
  disabledReason?: string | null;
}

export function Button({
  className,
  variant,
  size,
  asChild = false,
  busy = false,
  disabledReason,
  children,
  onClick,
  disabled,
  type = "button",
  ...props
}: ButtonProps) {
  const classes = cn(button({ variant, size }), className);
  if (asChild) {
    return (
      <Slot.Root className={classes} {...props}>
        {children}
      </Slot.Root>
    );
  }
  const blocked = Boolean(disabledReason) || busy;
  const element = (
    <button
      type={blocked ? "button" : type}
      className={classes}
      aria-disabled={blocked || undefined}
      aria-busy={busy || undefined}
      disabled={disabled}
      onClick={blocked ? (event) => event.preventDefault() : onClick}
      {...props}
    >
      {busy && <LoaderCircle className="animate-spin" aria-hidden />}
      {children}
    </button>
  );
  return disabledReason ? <Tooltip content={disabledReason}>{element}</Tooltip> : element;
}
