import { ChevronDown, Search, X } from "lucide-react";
import { type ComponentProps, useEffect, useRef, useState } from "react";
import { cn } from "./cn";

const control =
  "w-full min-w-0 rounded-md border border-control bg-surface text-ink transition-colors placeholder:text-ink-3 hover:border-ink-3 focus-visible:border-accent focus-visible:outline-2 focus-visible:outline-accent focus-visible:-outline-offset-1 disabled:cursor-not-allowed disabled:bg-sunken disabled:text-ink-3 aria-invalid:border-crit";

export function Input({ className, ...props }: ComponentProps<"input">) {
  return <input className={cn(control, "h-9 px-2.5 text-base", className)} {...props} />;
}

export function Textarea({ className, onFocus, ...props }: ComponentProps<"textarea">) {
  return (
    <textarea
      className={cn(control, "min-h-20 px-2.5 py-2 text-base", className)}
      onFocus={(event) => {
        // By itself a browser shows the caret's line, and the rest may stay out of sight.
        event.currentTarget.scrollIntoView({ block: "nearest" });
        onFocus?.(event);
      }}
      {...props}
    />
  );
}

export function Select({ className, children, ...props }: ComponentProps<"select">) {
  return (
    <span className={cn("relative block", className)}>
      <select
        className={cn(control, "h-9 appearance-none truncate pr-8 pl-2.5 text-base")}
        {...props}
      >
        {children}
      </select>
      <ChevronDown
        aria-hidden
        className="pointer-events-none absolute top-1/2 right-2.5 size-4 -translate-y-1/2 text-ink-3"
      />
    </span>
  );
}

const SEARCH_DELAY_MS = 250;

/** A search box that reports what was typed once typing pauses. */
export function SearchInput({
  value,
  onSearch,
  label,
  className,
  placeholder,
}: {
  value: string;
  onSearch: (value: string) => void;
  label: string;
  className?: string;
  placeholder?: string;
}) {
  const [text, setText] = useState(value);
  const reported = useRef(value);
  useEffect(() => {
    // Changed from outside (back button, cleared filter), not by what was just typed.
    if (value !== reported.current) {
      reported.current = value;
      setText(value);
    }
  }, [value]);
  useEffect(() => {
    if (text === reported.current) return;
    const timer = setTimeout(() => {
      reported.current = text;
      onSearch(text);
    }, SEARCH_DELAY_MS);
    return () => clearTimeout(timer);
  }, [text, onSearch]);
  return (
    <div className={cn("relative", className)}>
      <Search
        aria-hidden
        className="pointer-events-none absolute top-1/2 left-2.5 size-4 -translate-y-1/2 text-ink-3"
      />
      <input
        type="search"
        aria-label={label}
        placeholder={placeholder ?? label}
        value={text}
        onChange={(event) => setText(event.target.value)}
        className={cn(control, "h-8 pr-8 pl-8 text-base [&::-webkit-search-cancel-button]:hidden")}
      />
      {text !== "" && (
        <button
          type="button"
          aria-label="Clear search"
          onClick={() => setText("")}
          className="absolute top-1 right-1 grid size-6 place-items-center rounded-sm text-ink-3 hover:bg-hover hover:text-ink"
        >
          <X aria-hidden className="size-3.5" />
        </button>
      )}
    </div>
  );
}
