import { CircleAlert, CircleCheck, X } from "lucide-react";
import { useSyncExternalStore } from "react";
import { errorMessage } from "../lib/problem";
import { cn } from "./cn";

interface Message {
  id: number;
  tone: "ok" | "crit";
  text: string;
}

const SHOWN_MS = { ok: 4_000, crit: 9_000 };

let messages: readonly Message[] = [];
let nextId = 1;
const listeners = new Set<() => void>();

function update(next: readonly Message[]) {
  messages = next;
  for (const listener of listeners) listener();
}

function show(tone: Message["tone"], text: string) {
  const id = nextId++;
  update([...messages.slice(-2), { id, tone, text }]);
  setTimeout(() => dismiss(id), SHOWN_MS[tone]);
}

function dismiss(id: number) {
  update(messages.filter((message) => message.id !== id));
}

export const toast = {
  done: (text: string) => show("ok", text),
  failed: (error: unknown) => show("crit", errorMessage(error)),
};

export function Toaster() {
  const shown = useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => messages,
  );
  return (
    <section
      aria-label="Notifications"
      aria-live="polite"
      className="pointer-events-none fixed inset-x-4 bottom-4 z-70 grid justify-items-end gap-2"
    >
      {shown.map((message) => (
        <div
          key={message.id}
          className="pointer-events-auto flex max-w-md animate-pop items-start gap-2.5 rounded-md border border-line bg-raised py-2.5 pr-2 pl-3 shadow-float"
        >
          {message.tone === "ok" ? (
            <CircleCheck aria-hidden className="mt-0.5 size-4 shrink-0 text-ok" />
          ) : (
            <CircleAlert aria-hidden className="mt-0.5 size-4 shrink-0 text-crit" />
          )}
          <p
            className={cn(
              "min-w-0 wrap-anywhere text-base",
              message.tone === "crit" && "text-crit",
            )}
          >
            {message.text}
          </p>
          <button
            type="button"
            aria-label="Dismiss"
            onClick={() => dismiss(message.id)}
            className="grid size-6 shrink-0 place-items-center rounded-sm text-ink-3 hover:bg-hover"
          >
            <X aria-hidden className="size-3.5" />
          </button>
        </div>
      ))}
    </section>
  );
}
