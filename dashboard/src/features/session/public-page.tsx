import type { ReactNode } from "react";
import { Mark } from "../shell/mark";

/** The frame of the pages that need no session: the product's name above, one column below. */
export function PublicPage({ children, wide = false }: { children: ReactNode; wide?: boolean }) {
  return (
    <main className="grid min-h-dvh grid-rows-[auto_1fr] bg-canvas">
      <header className="flex items-center gap-2.5 px-6 py-5">
        <Mark className="size-7" />
        <span className="font-semibold text-lg tracking-tight">GuruRMM</span>
      </header>
      <div
        className={`mx-auto w-full px-6 pt-[clamp(1rem,8vh,6rem)] pb-12 ${wide ? "max-w-2xl" : "max-w-sm"}`}
      >
        {children}
      </div>
    </main>
  );
}
