import { useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useLocation } from "@tanstack/react-router";
import { Menu as MenuIcon, Search } from "lucide-react";
import { Dialog as Primitive } from "radix-ui";
import { Suspense, useEffect, useRef, useState } from "react";
import { keys } from "../../api/keys";
import { LiveProvider } from "../../api/live-react";
import { Button } from "../../ui/button";
import { useFocusReturn } from "../../ui/focus-return";
import { SkeletonRows } from "../../ui/states";
import { CommandPalette } from "../palette/command-palette";
import { LiveIndicator } from "./live-indicator";
import { Mark } from "./mark";
import { Rail } from "./rail";

/** The frame of every page behind the sign-in. */
export function AppShell() {
  const queryClient = useQueryClient();
  const [paletteOpen, setPaletteOpen] = useState(false);
  const [drawerOpen, setDrawerOpen] = useState(false);
  const drawerFocus = useFocusReturn();
  const { pathname } = useLocation();
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new page closes the drawer
  useEffect(() => setDrawerOpen(false), [pathname]);
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      // In a terminal the keys are the shell's.
      if (event.target instanceof Element && event.target.closest(".xterm")) return;
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        setPaletteOpen((open) => !open);
      }
    };
    addEventListener("keydown", onKeyDown);
    return () => removeEventListener("keydown", onKeyDown);
  }, []);
  return (
    // Asking for the session again meets the refusal that leads to the sign-in page.
    <LiveProvider onSignedOut={() => queryClient.refetchQueries({ queryKey: keys.session })}>
      <a
        href="#content"
        className="fixed top-2 left-2 z-50 -translate-y-20 rounded-md bg-accent px-3 py-1.5 text-accent-ink focus:translate-y-0"
      >
        Skip to content
      </a>
      <div className="lg:pl-(--rail-width)">
        <aside className="fixed inset-y-0 left-0 hidden w-(--rail-width) border-r bg-canvas lg:block">
          <Rail onSearch={() => setPaletteOpen(true)} />
        </aside>
        <header className="sticky top-0 z-20 flex h-12 items-center gap-2 border-b bg-canvas px-3 lg:hidden">
          <Button
            variant="quiet"
            size="icon"
            aria-label="Open navigation"
            onClick={() => setDrawerOpen(true)}
          >
            <MenuIcon aria-hidden />
          </Button>
          <Link to="/" className="flex items-center gap-2 font-semibold">
            <Mark className="size-5.5" />
            GuruRMM
          </Link>
          <div className="ml-auto flex items-center gap-1">
            <LiveIndicator compact />
            <Button
              variant="quiet"
              size="icon"
              aria-label="Search or jump to"
              onClick={() => setPaletteOpen(true)}
            >
              <Search aria-hidden />
            </Button>
          </div>
        </header>
        <main
          id="content"
          tabIndex={-1}
          className="mx-auto min-h-[calc(100dvh-3rem)] max-w-[90rem] px-4 pt-5 pb-16 outline-none has-[[data-full]]:max-w-none has-[[data-full]]:p-0 sm:px-6 lg:min-h-dvh lg:px-8 lg:pt-6"
        >
          <FocusOnNavigation pathname={pathname} />
          <Suspense fallback={<SkeletonRows rows={8} />}>
            <Outlet />
          </Suspense>
        </main>
      </div>
      <Primitive.Root open={drawerOpen} onOpenChange={setDrawerOpen}>
        <Primitive.Portal>
          <Primitive.Overlay className="fixed inset-0 z-40 animate-overlay bg-black/45" />
          <Primitive.Content
            {...drawerFocus}
            aria-describedby={undefined}
            className="fixed inset-y-0 left-0 z-50 w-72 max-w-[85vw] animate-drawer border-r bg-canvas shadow-float"
          >
            <Primitive.Title className="sr-only">Navigation</Primitive.Title>
            <Rail
              onSearch={() => {
                setDrawerOpen(false);
                setPaletteOpen(true);
              }}
            />
          </Primitive.Content>
        </Primitive.Portal>
      </Primitive.Root>
      <CommandPalette open={paletteOpen} onOpenChange={setPaletteOpen} />
    </LiveProvider>
  );
}

/** After a navigation the keyboard and the screen reader continue at the new page, not at the former link. */
function FocusOnNavigation({ pathname }: { pathname: string }) {
  const former = useRef(pathname);
  useEffect(() => {
    if (former.current === pathname) return;
    former.current = pathname;
    document.getElementById("content")?.focus({ preventScroll: true });
  }, [pathname]);
  return null;
}
