import { useRef } from "react";

/**
 * For what opens over the page from anywhere: closed again, the focus is where it was before. On another page than
 * before, or when what had it is gone, it is at the start of the page.
 */
export function useFocusReturn() {
  const before = useRef<{ element: Element | null; pathname: string }>(null);
  return {
    onOpenAutoFocus: () => {
      const focused = document.activeElement;
      // A menu's entry is gone once it is chosen; the button of the menu stays.
      const menu = focused?.closest("[role=menu]")?.getAttribute("aria-labelledby");
      const element = menu ? document.getElementById(menu) : focused;
      before.current = { element, pathname: location.pathname };
    },
    onCloseAutoFocus: (event: Event) => {
      event.preventDefault();
      const { element, pathname } = before.current ?? {};
      const stays = element?.isConnected && element !== document.body;
      const target =
        stays && pathname === location.pathname ? element : document.querySelector("main");
      if (target instanceof HTMLElement) target.focus({ preventScroll: true });
    },
  };
}
