import type { ReactNode } from "react";

/** For links that are the tabs of a page: each has an address of its own. */
export const tabLink =
  "-mb-px flex h-9 shrink-0 items-center border-transparent border-b-2 px-1 text-base text-ink-2 hover:text-ink aria-[current=page]:border-accent aria-[current=page]:font-medium aria-[current=page]:text-ink";

export function TabLinks({ label, children }: { label: string; children: ReactNode }) {
  return (
    <nav aria-label={label} className="scroll-thin mb-5 overflow-x-auto overflow-y-hidden border-b">
      <div className="flex gap-5">{children}</div>
    </nav>
  );
}
