import type { ReactNode } from "react";

/** Scrolls sideways where its content is too wide, by keyboard too. */
export function ScrollX({ label, children }: { label: string; children: ReactNode }) {
  return (
    <section
      aria-label={label}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolling region must be reachable with the keyboard
      tabIndex={0}
      className="scroll-thin overflow-x-auto focus-visible:-outline-offset-2"
    >
      {children}
    </section>
  );
}
