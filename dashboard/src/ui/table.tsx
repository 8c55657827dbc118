import { ArrowDown, ArrowUp } from "lucide-react";
import type { ComponentProps, ReactNode } from "react";
import { cn } from "./cn";

export function Table({ className, ...props }: ComponentProps<"table">) {
  return (
    <table
      className={cn(
        "w-full border-separate border-spacing-0 text-left text-base [&_tbody>tr:last-child>td]:border-b-0",
        className,
      )}
      {...props}
    />
  );
}

export function Th({ className, ...props }: ComponentProps<"th">) {
  return (
    <th
      scope="col"
      className={cn(
        "h-9 whitespace-nowrap border-b px-3 text-left font-medium text-ink-2 text-sm first:pl-4 last:pr-4",
        className,
      )}
      {...props}
    />
  );
}

export function Td({ className, ...props }: ComponentProps<"td">) {
  return (
    <td
      className={cn("h-11 border-line border-b px-3 py-1.5 first:pl-4 last:pr-4", className)}
      {...props}
    />
  );
}

export function Tr({ className, ...props }: ComponentProps<"tr">) {
  return <tr className={cn("hover:bg-hover", className)} {...props} />;
}

/** A column heading that sorts. */
export function SortTh({
  children,
  direction,
  onSort,
  className,
}: {
  children: ReactNode;
  direction: "asc" | "desc" | null;
  onSort: () => void;
  className?: string;
}) {
  const Arrow = direction === "desc" ? ArrowDown : ArrowUp;
  return (
    <Th
      className={className}
      aria-sort={direction === "asc" ? "ascending" : direction === "desc" ? "descending" : "none"}
    >
      <button
        type="button"
        onClick={onSort}
        className={cn(
          "group -mx-1 inline-flex items-center gap-1 rounded-sm px-1 py-0.5 hover:text-ink",
          direction && "text-ink",
        )}
      >
        {children}
        <Arrow
          aria-hidden
          className={cn("size-3.5", direction ? "opacity-100" : "opacity-0 group-hover:opacity-50")}
        />
      </button>
    </Th>
  );
}
