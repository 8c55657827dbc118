import { Link, useBlocker, useNavigate, useSearch } from "@tanstack/react-router";
import { Ellipsis, Plus, X } from "lucide-react";
import {
  lazy,
  type ReactNode,
  Suspense,
  useCallback,
  useEffect,
  useMemo,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";
import type { Agent } from "../../api/types";
import { errorMessage } from "../../lib/problem";
import { Button } from "../../ui/button";
import { cn } from "../../ui/cn";
import { Confirm } from "../../ui/confirm";
import { Dialog } from "../../ui/dialog";
import { Menu, MenuCheck, MenuItem, MenuLabel, MenuSeparator } from "../../ui/menu";
import { Kbd } from "../../ui/panel";
import { EmptyState, SkeletonRows } from "../../ui/states";
import { toast } from "../../ui/toast";
import { failure } from "./failure";
import { Transfers } from "./files/transfers";
import { OpenSession } from "./open-session";
import { useCloseSession } from "./queries";
import type { TunnelState } from "./session";
import { SessionHeader } from "./session-header";
import { KEYS } from "./terminal/keys";
import { readForReader, writeForReader } from "./terminal/preferences";
import type { ShellChoice, Terminal } from "./terminal/terminal";
import { TerminalView } from "./terminal/terminal-view";
import { MAX_TERMINALS, Terminals } from "./terminal/terminals";
import { TunnelContext, useSessionLink, useTunnelState, whyNot } from "./tunnel-react";
import type { ChannelKind, Ready } from "./wire";
import { CLOSED_SENTENCES, KIND_NAMES, refusedSentence } from "./words";

const FilesTab = lazy(async () => ({ default: (await import("./files/files-tab")).FilesTab }));
const ProcessesTab = lazy(async () => ({
  default: (await import("./processes-tab")).ProcessesTab,
}));
const ServicesTab = lazy(async () => ({ default: (await import("./services-tab")).ServicesTab }));
const RegistryTab = lazy(async () => ({ default: (await import("./registry-tab")).RegistryTab }));
const EventsTab = lazy(async () => ({ default: (await import("./events-tab")).EventsTab }));

/** The channels with one screen each, in the order of their tabs. */
const SCREENS = ["files", "processes", "services", "registry", "events"] as const;
type Screen = (typeof SCREENS)[number];

/** What the tab of a terminal is called in the address. */
const terminalTab = (id: number) => `terminal-${id}`;
const tabElement = (tab: string) => document.getElementById(`tab-${tab}`);

/** An open session: its header, its tabs, and what each of them shows. */
export function Session({ sessionId, agent }: { sessionId: string; agent: Agent }) {
  const navigate = useNavigate({ from: "/agents/$agentId/session" });
  const { tab } = useSearch({ from: "/app/agents/$agentId/session" });
  const tunnel = useSessionLink(sessionId);
  const state = useTunnelState(tunnel);
  const [searching, setSearching] = useState<number | null>(null);
  const [address, setAddress] = useState<string | null>(null);
  const [terminals] = useState(
    () =>
      new Terminals(tunnel, (id) => ({
        onLeave: () => tabElement(terminalTab(id))?.focus(),
        onSearch: () => setSearching(id),
        onLink: setAddress,
        onTooMuch: () =>
          toast.failed(
            failure({
              code: "too_many",
              detail: "The machine does not keep up: what was typed last was not taken.",
            }),
          ),
      })),
  );
  const [transfers] = useState(() => new Transfers(tunnel));
  useEffect(() => terminals.start(), [terminals]);
  useEffect(() => transfers.start(), [transfers]);
  const list = useSyncExternalStore(terminals.onList, terminals.getList);

  const show = useCallback(
    (next: string) => navigate({ search: (former) => ({ ...former, tab: next }), replace: true }),
    [navigate],
  );
  const addTerminal = useCallback(
    (asked?: ShellChoice) => {
      const shells = tunnel.getState().ready?.shells ?? [];
      const shell = shells.find(({ program }) => program === asked?.shell) ?? shells[0];
      const user = asked?.context === "user_session" ? ", signed-in user" : "";
      const terminal = terminals.add(`${shell?.name ?? "shell"}${user}`, {
        shell: shell?.program,
        context: asked?.context ?? "system",
      });
      show(terminalTab(terminal.id));
    },
    [tunnel, terminals, show],
  );

  const screens = SCREENS.filter((kind) => whyNot(state, kind) !== "forbidden");
  const hasTerminals = whyNot(state, "terminal") === null;
  const shown = shownTab(tab, list, screens);

  // Who opens a session mostly wants a shell: a new one begins with it.
  const hasBegun = useRef(false);
  useEffect(() => {
    if (state.phase !== "ready" || hasBegun.current) return;
    hasBegun.current = true;
    if (hasTerminals && tab === undefined && terminals.getList().length === 0) addTerminal();
  }, [state.phase, hasTerminals, tab, terminals, addTerminal]);

  const close = (terminal: Terminal) => {
    const index = list.indexOf(terminal);
    const next = list[index + 1] ?? list[index - 1];
    terminals.close(terminal);
    if (shown === terminalTab(terminal.id)) {
      const other = next ? terminalTab(next.id) : screens[0];
      if (other) show(other);
    }
  };

  const end = useCloseSession(sessionId, async () => {
    toast.done(`The session with ${agent.hostname} is over.`);
    await navigate({ to: "/agents/$agentId", params: { agentId: agent.id }, ignoreBlocker: true });
  });
  const isBusy = useSyncExternalStore(transfers.onChange, transfers.getIsBusy);
  const [asksToEnd, setAsksToEnd] = useState(false);
  const isOver = state.phase === "closed" || state.phase === "refused";
  // Nothing is known of the machine yet.
  const isAwaited = state.phase === "waiting" && state.ready === null;
  const screen = isAwaited ? null : shown;

  return (
    <TunnelContext value={tunnel}>
      <div data-full className="flex h-[calc(100dvh-3rem)] min-w-0 flex-col lg:h-dvh">
        <SessionHeader
          agent={agent}
          tunnel={tunnel}
          state={state}
          isEnding={end.isPending}
          onEnd={() => {
            if (terminals.running > 0 || isBusy) setAsksToEnd(true);
            else end.mutate();
          }}
        />
        <ChannelTabs
          terminals={list}
          screens={screens}
          shown={shown}
          ready={state.ready}
          canAdd={hasTerminals}
          addDenied={
            state.phase !== "ready"
              ? "The machine is not there at the moment."
              : list.length >= MAX_TERMINALS
                ? `At most ${MAX_TERMINALS} terminals at a time.`
                : null
          }
          onAdd={addTerminal}
          onClose={close}
          onSearch={setSearching}
        />
        <StateBar state={state} agent={agent} onRetry={() => tunnel.retryNow()} />
        <div className="relative min-h-0 flex-1">
          {list.map((terminal) => (
            <TerminalView
              key={terminal.id}
              terminal={terminal}
              isShown={shown === terminalTab(terminal.id)}
              isSearching={searching === terminal.id}
              onSearchEnd={() => setSearching(null)}
              onAgain={() => {
                addTerminal(terminal.asked);
                terminals.close(terminal);
              }}
              onClose={() => close(terminal)}
            />
          ))}
          {isAwaited && (
            <EmptyState title={`Waiting for ${agent.hostname}`}>
              What a session can do there shows as soon as the machine is there.
            </EmptyState>
          )}
          {shown === null && state.phase !== "ready" && !isOver && !isAwaited && (
            <SkeletonRows rows={6} />
          )}
          {shown === null && state.phase === "ready" && (
            <EmptyState title="No terminal is open">
              {hasTerminals
                ? "Open one with the plus above."
                : "The policy of this machine allows none of what a session can do here."}
            </EmptyState>
          )}
          {shown === null && isOver && <Over state={state} agent={agent} />}
          <Suspense fallback={<SkeletonRows rows={8} />}>
            {screen === "files" && <FilesTab sessionId={sessionId} transfers={transfers} />}
            {screen === "processes" && <ProcessesTab />}
            {screen === "services" && <ServicesTab />}
            {screen === "registry" && <RegistryTab />}
            {screen === "events" && <EventsTab osType={agent.os_type} />}
          </Suspense>
        </div>
      </div>
      <Confirm
        open={asksToEnd}
        onOpenChange={setAsksToEnd}
        title="End the session?"
        action="End session"
        busy={end.isPending}
        error={end.error && errorMessage(end.error)}
        onConfirm={() => end.mutate()}
      >
        {terminals.running > 0 && (
          <p>
            {terminals.running === 1 ? "One shell is" : `${terminals.running} shells are`} running.
            What runs in {terminals.running === 1 ? "it" : "them"} ends with the session.
          </p>
        )}
        {isBusy && <p>Files are on their way. They stop where they are.</p>}
      </Confirm>
      <Confirm
        open={address !== null}
        onOpenChange={(open) => {
          if (!open) setAddress(null);
        }}
        title="Open this address?"
        action="Open in a new tab"
        danger={false}
        onConfirm={() => {
          if (address) window.open(address, "_blank", "noopener,noreferrer");
          setAddress(null);
        }}
      >
        <p>A program in the terminal wrote it. It leads to:</p>
        <p className="rounded-md bg-sunken px-3 py-2 font-mono text-sm wrap-anywhere">{address}</p>
      </Confirm>
      <Leaving isBusy={isBusy && !isOver} />
    </TunnelContext>
  );
}

/** The tab that is shown, whatever the address says. */
function shownTab(
  tab: string | undefined,
  terminals: readonly Terminal[],
  screens: readonly Screen[],
): string | null {
  const known = [...terminals.map(({ id }) => terminalTab(id)), ...screens];
  if (tab !== undefined && known.includes(tab)) return tab;
  const [first] = terminals;
  return first ? terminalTab(first.id) : null;
}

const channelTab =
  "flex h-9 max-w-56 shrink-0 whitespace-nowrap items-center gap-1.5 border-b-2 border-transparent px-2.5 text-base text-ink-2 hover:text-ink focus-visible:-outline-offset-2 aria-[current=page]:border-accent aria-[current=page]:font-medium aria-[current=page]:text-ink";

function ChannelTabs({
  terminals,
  screens,
  shown,
  ready,
  canAdd,
  addDenied,
  onAdd,
  onClose,
  onSearch,
}: {
  terminals: readonly Terminal[];
  screens: readonly Screen[];
  shown: string | null;
  ready: Ready | null;
  canAdd: boolean;
  addDenied: string | null;
  onAdd: (asked?: ShellChoice) => void;
  onClose: (terminal: Terminal) => void;
  onSearch: (id: number) => void;
}) {
  const nav = useRef<HTMLElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: on a phone the tab that is shown now may stand outside
  useEffect(() => {
    nav.current?.querySelector("[aria-current=page]")?.scrollIntoView({ block: "nearest" });
  }, [shown]);
  const terminal = terminals.find(({ id }) => shown === terminalTab(id));
  return (
    <div className="flex shrink-0 items-center border-b bg-canvas pr-1.5 pl-1 sm:pl-3">
      <nav
        ref={nav}
        aria-label="Channels"
        onFocus={({ target }) => target.scrollIntoView({ block: "nearest", inline: "nearest" })}
        className="scroll-thin min-w-0 flex-1 overflow-x-auto overflow-y-hidden"
      >
        <ul className="flex items-center">
          {terminals.map((one) => (
            <TerminalTab
              key={one.id}
              terminal={one}
              isShown={one === terminal}
              onClose={() => onClose(one)}
            />
          ))}
          {canAdd && (
            <li className="mr-2 flex shrink-0 items-center border-r pr-2">
              <Button
                size="iconSm"
                variant="quiet"
                aria-label="New terminal"
                disabledReason={addDenied}
                onClick={() => onAdd()}
              >
                <Plus aria-hidden />
              </Button>
              {ready && <ShellMenu ready={ready} isDenied={addDenied !== null} onAdd={onAdd} />}
            </li>
          )}
          {screens.map((kind) => (
            <li key={kind}>
              <Link
                id={`tab-${kind}`}
                from="/agents/$agentId/session"
                to="."
                search={(former) => ({ ...former, tab: kind })}
                replace
                aria-current={shown === kind ? "page" : undefined}
                activeProps={{ "aria-current": undefined }}
                className={channelTab}
              >
                {KIND_NAMES[kind satisfies ChannelKind]}
              </Link>
            </li>
          ))}
        </ul>
      </nav>
      {terminal && <TerminalMenu terminal={terminal} onSearch={() => onSearch(terminal.id)} />}
    </div>
  );
}

function TerminalTab({
  terminal,
  isShown,
  onClose,
}: {
  terminal: Terminal;
  isShown: boolean;
  onClose: () => void;
}) {
  const { label, title, phase } = useSyncExternalStore(terminal.onState, terminal.getState);
  const [asks, setAsks] = useState(false);
  const name = title || label;
  return (
    <li className="flex shrink-0 items-center">
      <Link
        id={`tab-${terminalTab(terminal.id)}`}
        from="/agents/$agentId/session"
        to="."
        search={(former) => ({ ...former, tab: terminalTab(terminal.id) })}
        replace
        onClick={() => terminal.focus()}
        aria-current={isShown ? "page" : undefined}
        activeProps={{ "aria-current": undefined }}
        title={title ? `${label}: ${title}` : label}
        className={cn(channelTab, "pr-1")}
      >
        <span className="truncate">{name}</span>
        {phase === "ended" && <span className="text-ink-3 text-sm">(ended)</span>}
      </Link>
      <button
        type="button"
        aria-label={`Close ${name}`}
        onClick={() => (phase === "ended" ? onClose() : setAsks(true))}
        className="grid size-6 shrink-0 place-items-center rounded-sm text-ink-3 hover:bg-hover hover:text-ink"
      >
        <X aria-hidden className="size-3.5" />
      </button>
      <Confirm
        open={asks}
        onOpenChange={setAsks}
        title="Close this terminal?"
        action="Close terminal"
        onConfirm={() => {
          setAsks(false);
          onClose();
        }}
      >
        <p>Its shell ends, with what runs in it.</p>
      </Confirm>
    </li>
  );
}

function ShellMenu({
  ready,
  isDenied,
  onAdd,
}: {
  ready: Ready;
  isDenied: boolean;
  onAdd: (asked: ShellChoice) => void;
}) {
  const items = (context: ShellChoice["context"]) =>
    ready.shells.map(({ name, program }) => (
      <MenuItem
        key={program}
        disabled={isDenied}
        onSelect={() => onAdd({ shell: program, context })}
      >
        {name}
        <span className="ml-auto pl-4 font-mono text-ink-3 text-sm">{program}</span>
      </MenuItem>
    ));
  return (
    <Menu
      align="start"
      trigger={
        <Button size="sm" variant="quiet" className="px-1.5" aria-label="Which shell, and as whom">
          <span aria-hidden className="text-[0.6rem]">
            ▼
          </span>
        </Button>
      }
    >
      <MenuLabel>As root or SYSTEM</MenuLabel>
      {items("system")}
      <MenuSeparator />
      <MenuLabel>As the signed-in user</MenuLabel>
      {items("user_session")}
    </Menu>
  );
}

function TerminalMenu({ terminal, onSearch }: { terminal: Terminal; onSearch: () => void }) {
  const [showsKeys, setShowsKeys] = useState(false);
  const [isRead, setIsRead] = useState(readForReader);
  const canPaste = typeof navigator.clipboard?.readText === "function";
  return (
    <>
      <Menu
        trigger={
          <Button size="icon" variant="quiet" aria-label="This terminal">
            <Ellipsis aria-hidden />
          </Button>
        }
      >
        <MenuItem onSelect={onSearch}>Search</MenuItem>
        <MenuItem onSelect={() => terminal.copy()}>Copy</MenuItem>
        {canPaste && (
          <MenuItem onSelect={() => terminal.paste().catch(() => undefined)}>Paste</MenuItem>
        )}
        <MenuItem onSelect={() => terminal.selectAll()}>Select all</MenuItem>
        <MenuItem onSelect={() => terminal.clear()}>Clear the scrollback</MenuItem>
        <MenuSeparator />
        <MenuItem onSelect={() => terminal.resizeFont("larger")}>Larger text</MenuItem>
        <MenuItem onSelect={() => terminal.resizeFont("smaller")}>Smaller text</MenuItem>
        <MenuSeparator />
        <MenuCheck
          checked={isRead}
          onCheckedChange={(next) => {
            setIsRead(next);
            writeForReader(next);
            terminal.setScreenReader(next);
          }}
        >
          For a screen reader
        </MenuCheck>
        <MenuItem onSelect={() => setShowsKeys(true)}>Keys</MenuItem>
      </Menu>
      <Dialog
        open={showsKeys}
        onOpenChange={setShowsKeys}
        title="Keys in a terminal"
        description="All others go to the shell. On a Mac, Command does the same where it says Ctrl+Shift."
      >
        <dl className="grid grid-cols-[auto_minmax(0,1fr)] items-baseline gap-x-5 gap-y-2 text-base">
          {KEYS.map(({ keys, does }) => (
            <div key={keys} className="contents">
              <dt>
                <Kbd>{keys}</Kbd>
              </dt>
              <dd>{does}</dd>
            </div>
          ))}
        </dl>
      </Dialog>
    </>
  );
}

/** What there is to say while the session is not as it should be. */
function StateBar({
  state,
  agent,
  onRetry,
}: {
  state: TunnelState;
  agent: Agent;
  onRetry: () => void;
}) {
  if (state.phase === "lost") {
    return (
      <Bar action={<RetryButton onRetry={onRetry}>Try now</RetryButton>}>
        The link to the server is lost. What you type is kept and sent when it is back.
      </Bar>
    );
  }
  if (state.phase === "waiting") {
    return (
      <Bar>
        {agent.hostname} is not connected. Its shells go on without a link for five minutes; the
        session continues as soon as it is back.
      </Bar>
    );
  }
  if (state.phase === "replaced") {
    return (
      <Bar action={<RetryButton onRetry={onRetry}>Continue here</RetryButton>}>
        This session goes on in another window.
      </Bar>
    );
  }
  // With nothing else to show, it fills the page.
  if (state.phase === "closed" && state.ready) {
    return (
      <Bar action={<OpenSession agent={agent} />}>The session is over. {closedSentence(state)}</Bar>
    );
  }
  return null;
}

function Bar({ children, action }: { children: ReactNode; action?: ReactNode }) {
  return (
    <div
      role="status"
      className="flex shrink-0 flex-wrap items-center justify-between gap-x-4 gap-y-1.5 border-b bg-warn-soft px-4 py-1.5"
    >
      <p className="text-base text-warn">{children}</p>
      {action}
    </div>
  );
}

function RetryButton({ onRetry, children }: { onRetry: () => void; children: ReactNode }) {
  return (
    <Button size="sm" onClick={onRetry}>
      {children}
    </Button>
  );
}

const closedSentence = ({ closed, error }: TunnelState) =>
  closed ? CLOSED_SENTENCES[closed] : (error?.message ?? "");

function Over({ state, agent }: { state: TunnelState; agent: Agent }) {
  const isRefused = state.phase === "refused" && state.refused;
  return (
    <EmptyState
      title={isRefused ? "The machine has no session for you" : "The session is over"}
      action={
        <>
          <OpenSession agent={agent} primary />
          <Button asChild>
            <Link to="/agents/$agentId" params={{ agentId: agent.id }}>
              To the machine
            </Link>
          </Button>
        </>
      }
    >
      {isRefused ? refusedSentence(isRefused.reason, isRefused.detail) : closedSentence(state)}
    </EmptyState>
  );
}

/** Files on their way stop when the page is left; who leaves is asked. */
function Leaving({ isBusy }: { isBusy: boolean }) {
  const blocker = useBlocker({
    shouldBlockFn: ({ current, next }) => isBusy && current.pathname !== next.pathname,
    enableBeforeUnload: isBusy,
    withResolver: true,
  });
  const isBlocked = blocker.status === "blocked";
  const stay = useMemo(() => blocker.reset ?? (() => undefined), [blocker.reset]);
  return (
    <Confirm
      open={isBlocked}
      onOpenChange={(open) => {
        if (!open) stay();
      }}
      title="Leave while files are on their way?"
      action="Leave"
      onConfirm={() => blocker.proceed?.()}
    >
      <p>
        They stop where they are. An upload goes on from there when the same file is chosen again.
      </p>
    </Confirm>
  );
}
