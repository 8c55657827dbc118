import { ArrowDown, ArrowUp, X } from "lucide-react";
import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import { formatBytes } from "../../../lib/format";
import { Button } from "../../../ui/button";
import { cn } from "../../../ui/cn";
import { Skeleton } from "../../../ui/states";
import { endSentence, type Terminal } from "./terminal";

/** One terminal. Those that are not shown keep their size, so that nothing jumps when they are. */
export function TerminalView({
  terminal,
  isShown,
  isSearching,
  onSearchEnd,
  onAgain,
  onClose,
}: {
  terminal: Terminal;
  isShown: boolean;
  isSearching: boolean;
  onSearchEnd: () => void;
  onAgain: () => void;
  onClose: () => void;
}) {
  const state = useSyncExternalStore(terminal.onState, terminal.getState);
  const host = useRef<HTMLDivElement>(null);
  const [isMounted, setMounted] = useState(false);
  const [failure, setFailure] = useState<Error | null>(null);
  useEffect(() => {
    const element = host.current;
    if (!element) return;
    let frame = 0;
    const observer = new ResizeObserver(() => {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(() => terminal.fit());
    });
    terminal.mount(element).then(() => {
      setMounted(true);
      observer.observe(element);
    }, setFailure);
    return () => {
      cancelAnimationFrame(frame);
      observer.disconnect();
    };
  }, [terminal]);
  useEffect(() => {
    if (!isMounted) return;
    terminal.show(isShown);
    if (isShown) terminal.focus();
  }, [terminal, isMounted, isShown]);
  // For the page to say.
  if (failure) throw failure;
  return (
    <section
      aria-label={`Terminal ${terminal.id}: ${state.label}`}
      className={cn("absolute inset-0 flex flex-col bg-surface", !isShown && "invisible")}
    >
      {isSearching && isShown && <SearchBar terminal={terminal} onEnd={onSearchEnd} />}
      {state.takesLines && (
        <p className="border-b bg-sunken px-3 py-1 text-sm text-ink-2">
          This machine has no terminals (Windows before version 1809). The shell takes whole lines;
          end what hangs in Processes.
        </p>
      )}
      {state.missedBytes > 0 && (
        <p className="border-b bg-warn-soft px-3 py-1 text-sm text-warn">
          {formatBytes(state.missedBytes)} of earlier output are no longer kept at the machine.
        </p>
      )}
      <div className="relative min-h-0 flex-1 p-2">
        {!isMounted && (
          <div role="status" aria-label="Loading" className="grid gap-2 p-2">
            <Skeleton className="h-3 w-40" />
            <Skeleton className="h-3 w-64" />
          </div>
        )}
        <div ref={host} className="size-full overflow-hidden" />
      </div>
      {state.phase === "ended" && state.end && (
        <div
          role="status"
          className="flex flex-wrap items-center justify-between gap-2 border-t bg-sunken px-3 py-2"
        >
          <p className="text-base">{endSentence(state.end)}</p>
          <div className="flex gap-2">
            <Button size="sm" onClick={onAgain}>
              Start another
            </Button>
            <Button size="sm" onClick={onClose}>
              Close the tab
            </Button>
          </div>
        </div>
      )}
    </section>
  );
}

function SearchBar({ terminal, onEnd }: { terminal: Terminal; onEnd: () => void }) {
  const [text, setText] = useState("");
  const [isFound, setFound] = useState(true);
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    input.current?.focus();
  }, []);
  const find = (term: string, isBackward: boolean, isTyping = false) => {
    const search = terminal.search;
    if (!search || term === "") return setFound(true);
    setFound(
      isBackward ? search.findPrevious(term) : search.findNext(term, { incremental: isTyping }),
    );
  };
  const end = () => {
    terminal.search?.clearDecorations();
    onEnd();
    terminal.focus();
  };
  return (
    <search className="flex items-center gap-1.5 border-b bg-raised px-2 py-1.5">
      <input
        ref={input}
        type="search"
        aria-label="Search in the terminal"
        placeholder="Search in the terminal"
        value={text}
        aria-invalid={!isFound || undefined}
        onChange={({ target }) => {
          setText(target.value);
          find(target.value, false, true);
        }}
        onKeyDown={(event) => {
          if (event.key === "Enter") find(text, event.shiftKey);
          else if (event.key === "Escape") end();
        }}
        className="h-7 w-full max-w-72 min-w-0 rounded-md border border-control bg-surface px-2 text-base aria-invalid:border-crit"
      />
      <span role="status" className="text-crit text-sm">
        {!isFound && "Not found"}
      </span>
      <span className="ml-auto flex gap-1">
        <Button size="icon" variant="quiet" aria-label="Previous" onClick={() => find(text, true)}>
          <ArrowUp aria-hidden />
        </Button>
        <Button size="icon" variant="quiet" aria-label="Next" onClick={() => find(text, false)}>
          <ArrowDown aria-hidden />
        </Button>
        <Button size="icon" variant="quiet" aria-label="End the search" onClick={end}>
          <X aria-hidden />
        </Button>
      </span>
    </search>
  );
}
