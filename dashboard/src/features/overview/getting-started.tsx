import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, type LinkProps } from "@tanstack/react-router";
import { Check, X } from "lucide-react";
import { useState } from "react";
import type { Overview } from "../../api/types";
import { readPreference, writePreference } from "../../lib/storage";
import { Button } from "../../ui/button";
import { cn } from "../../ui/cn";
import { Panel } from "../../ui/panel";
import { useCan, useSession } from "../session/session";
import { usersQuery } from "../users/queries";
import { firstSteps, type Step } from "./steps";

const PREFERENCE = "gururmm.getting-started.hidden";
const isTrue = (value: unknown): value is true => value === true;

const TEXTS: Record<Step["id"], { title: string; text: string; link: LinkProps }> = {
  machine: {
    title: "Bring in a machine",
    text: "One command, run on the machine.",
    link: { to: "/enrollment" },
  },
  command: {
    title: "Run a command",
    text: "Its output streams into the page.",
    link: { to: "/agents" },
  },
  colleague: {
    title: "Invite a colleague",
    text: "With a role, and confined if need be.",
    link: { to: "/users", search: { invite: true } },
  },
  client: {
    title: "Add your next client",
    text: "Each has sites and keys of its own.",
    link: { to: "/clients" },
  },
};

/** The first steps of a new organisation, until they are done or put away. */
export function GettingStarted({ overview }: { overview: Overview }) {
  const session = useSession();
  const canManage = useCan("manage_tenancy") && !session.confined;
  const canSeeUsers = useCan("manage_users");
  const [hidden, setHidden] = useState(() => readPreference(PREFERENCE, isTrue) ?? false);
  const users = useInfiniteQuery({
    ...usersQuery,
    enabled: canManage && canSeeUsers && !hidden,
  });
  if (!canManage || hidden || (canSeeUsers && users.isPending)) return null;
  const steps = firstSteps(overview, users.data?.pages[0]?.total ?? null);
  const done = steps.filter((step) => step.done).length;
  if (done === steps.length) return null;
  return (
    <Panel
      title="Getting started"
      description={`${done} of ${steps.length} done`}
      flush
      actions={
        <Button
          size="icon"
          variant="quiet"
          aria-label="Hide getting started"
          onClick={() => {
            setHidden(true);
            writePreference(PREFERENCE, true);
          }}
        >
          <X aria-hidden />
        </Button>
      }
    >
      <ol className="grid max-lg:divide-y max-lg:divide-line lg:auto-cols-fr lg:grid-flow-col lg:divide-x lg:divide-line">
        {steps.map(({ id, done: isDone }) => (
          <li key={id} className="relative flex gap-3 px-4 py-3 hover:bg-hover">
            <span
              aria-hidden
              className={cn(
                "mt-0.5 grid size-4 shrink-0 place-items-center rounded-full",
                isDone ? "bg-ok-soft text-ok" : "border-[1.5px] border-line-strong",
              )}
            >
              {isDone && <Check className="size-3" />}
            </span>
            <div className="min-w-0">
              <Link
                {...TEXTS[id].link}
                className={cn(
                  "rounded-sm font-medium after:absolute after:inset-0",
                  isDone && "text-ink-2",
                )}
              >
                {TEXTS[id].title}
                {isDone && <span className="sr-only"> (done)</span>}
              </Link>
              <p className="text-ink-2 text-sm">{TEXTS[id].text}</p>
            </div>
          </li>
        ))}
      </ol>
    </Panel>
  );
}
