import { type ReactNode, useEffect, useRef } from "react";

/** For links that are the tabs of a page: each has an address of its own. */
export const tabLink =
  "-mb-px flex h-9 shrink-0 items-center border-transparent border-b-2 px-1 text-base text-ink-2 hover:text-ink aria-[current=page]:border-accent aria-[current=page]:font-medium aria-[current=page]:text-ink";

export function TabLinks({ label, children }: { label: string; children: ReactNode }) {
  const nav = useRef<HTMLElement>(null);
  const shown = useRef<HTMLElement>(null);
  useEffect(() => {
    // On a phone the chosen one may stand outside; the page itself must not move for it.
    const chosen = nav.current?.querySelector<HTMLElement>("[aria-current=page]");
    if (!nav.current || !chosen || chosen === shown.current) return;
    shown.current = chosen;
    const end = chosen.offsetLeft + chosen.offsetWidth - nav.current.offsetLeft;
    if (end > nav.current.scrollLeft + nav.current.clientWidth) nav.current.scrollLeft = end;
  });
  return (
    <nav
      ref={nav}
      aria-label={label}
      className="scroll-thin mb-5 overflow-x-auto overflow-y-hidden border-b"
    >
      <div className="flex gap-1.5 sm:gap-5">{children}</div>
    </nav>
  );
}
