import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { ChevronDown, ChevronRight, Download, Ellipsis, Plus, RefreshCw } from "lucide-react";
import { type ReactNode, useState } from "react";
import { keys } from "../../api/keys";
import { plural } from "../../lib/format";
import { useWide } from "../../lib/media";
import { errorMessage } from "../../lib/problem";
import { saveAs } from "../../lib/save";
import { Button } from "../../ui/button";
import { cn } from "../../ui/cn";
import { Confirm } from "../../ui/confirm";
import { Dialog, DialogActions } from "../../ui/dialog";
import { Field, FormError } from "../../ui/field";
import { type Column, Grid } from "../../ui/grid";
import { Input, Select, Textarea } from "../../ui/input";
import { Menu, MenuItem, MenuSeparator } from "../../ui/menu";
import { EmptyState, ErrorState, SkeletonRows } from "../../ui/states";
import { toast } from "../../ui/toast";
import {
  dataText,
  editText,
  joinKey,
  keyName,
  parentKey,
  parseData,
  type RegistryType,
  TYPE_NAMES,
  TYPES,
} from "./registry";
import { openRegistry, type Registry } from "./requests";
import { useRequests, useTunnel, useTunnelState, whyNot } from "./tunnel-react";
import { Unavailable } from "./unavailable";
import type { RegistryValue } from "./wire";

/** Windows' registry. */
export function RegistryTab() {
  const state = useTunnelState(useTunnel());
  const registry = useRequests(openRegistry);
  const reason = whyNot(state, "registry");
  if (reason) return <Unavailable kind="registry" reason={reason} />;
  if (!registry) return <SkeletonRows rows={12} />;
  return <Browser channel={registry} sessionId={state.facts?.session_id ?? ""} />;
}

interface Key {
  keys: string[];
  values: RegistryValue[];
}

async function listKey(channel: Registry, key: string, signal: AbortSignal): Promise<Key> {
  let found: Key = { keys: [], values: [] };
  await channel.ask(
    { do: "list", key },
    {
      signal,
      onPart: (part) => {
        if (part.is === "keys") found.keys.push(...part.keys);
        else if (part.is === "values") found.values.push(...part.values);
      },
      onRestart: () => {
        found = { keys: [], values: [] };
      },
    },
  );
  const compare = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" }).compare;
  found.keys.sort(compare);
  found.values.sort((a, b) => compare(a.name, b.name));
  return found;
}

const queryOf = (channel: Registry, sessionId: string, key: string) => ({
  queryKey: [...keys.tunnel(sessionId), "registry", key],
  queryFn: ({ signal }: { signal: AbortSignal }) => listKey(channel, key, signal),
  gcTime: 60_000,
});

type Asked =
  | { is: "value"; value: RegistryValue | null }
  | { is: "key" }
  | { is: "delete_value"; value: RegistryValue }
  | { is: "delete_key" };

function Browser({ channel, sessionId }: { channel: Registry; sessionId: string }) {
  const isWide = useWide();
  const queryClient = useQueryClient();
  const navigate = useNavigate({ from: "/agents/$agentId/session" });
  const { key = "" } = useSearch({ from: "/app/agents/$agentId/session" });
  const query = useQuery(queryOf(channel, sessionId, key));
  const [asked, setAsked] = useState<Asked | null>(null);
  const goTo = (next: string) =>
    navigate({ search: (former) => ({ ...former, key: next || undefined }) });
  const refresh = (...changed: string[]) =>
    Promise.all(
      changed.map((one) =>
        queryClient.invalidateQueries({ queryKey: queryOf(channel, sessionId, one).queryKey }),
      ),
    );
  const download = useMutation({
    mutationFn: async () => {
      const text: string[] = [];
      await channel.ask(
        { do: "export", key },
        {
          onPart: (part) => {
            if (part.is === "text") text.push(part.text);
          },
          onRestart: () => {
            text.length = 0;
          },
        },
      );
      // What Windows takes such a file for: UTF-16 with its mark.
      saveAs(new Blob([utf16(text.join(""))]), `${keyName(key)}.reg`);
    },
    onError: toast.failed,
  });
  const close = () => setAsked(null);
  return (
    <section
      aria-label="Registry"
      className="absolute inset-0 grid grid-rows-[minmax(0,2fr)_minmax(0,3fr)] bg-surface md:grid-cols-[minmax(14rem,22rem)_minmax(0,1fr)] md:grid-rows-1"
    >
      <nav
        aria-label="Keys"
        className="scroll-thin overflow-auto border-b px-1 py-2 md:border-r md:border-b-0"
      >
        <Branches channel={channel} sessionId={sessionId} of="" chosen={key} onChoose={goTo} />
      </nav>
      <div className="flex min-h-0 min-w-0 flex-col">
        <div className="flex flex-wrap items-center gap-2 border-b px-3 py-1.5">
          <KeyPath current={key} onGo={goTo} />
          <Button
            size="iconSm"
            variant="quiet"
            aria-label="Read again"
            onClick={() => query.refetch()}
          >
            <RefreshCw aria-hidden />
          </Button>
          {key !== "" && (
            <>
              <Button size="sm" onClick={() => setAsked({ is: "value", value: null })}>
                <Plus aria-hidden />
                Value
              </Button>
              <Menu
                trigger={
                  <Button size="iconSm" variant="quiet" aria-label={`Actions for ${keyName(key)}`}>
                    <Ellipsis aria-hidden />
                  </Button>
                }
              >
                <MenuItem onSelect={() => setAsked({ is: "key" })}>New key in it</MenuItem>
                <MenuItem onSelect={() => download.mutate()}>
                  <Download aria-hidden />
                  Export as .reg
                </MenuItem>
                <MenuSeparator />
                <MenuItem
                  danger
                  disabled={parentKey(key) === ""}
                  onSelect={() => setAsked({ is: "delete_key" })}
                >
                  Delete this key
                </MenuItem>
              </Menu>
            </>
          )}
          <p className="ml-auto text-ink-3 text-sm" role="status">
            {download.isPending
              ? "Exporting"
              : query.data && key !== "" && plural(query.data.values.length, "value")}
          </p>
        </div>
        {query.isPending ? (
          <SkeletonRows rows={6} />
        ) : query.isError ? (
          <ErrorState error={query.error} onRetry={() => query.refetch()} />
        ) : key === "" ? (
          <EmptyState title="Choose a key" />
        ) : query.data.values.length === 0 ? (
          <EmptyState title="This key has no values" />
        ) : (
          <Grid
            label={`Values of ${key}`}
            rows={query.data.values}
            rowKey={({ name }) => name}
            rowText={({ name }) => name || "(default)"}
            columns={isWide ? WIDE : NARROW}
            isWide={isWide}
            onOpen={(value) => setAsked({ is: "value", value })}
            onKey={(event, value) => {
              if (event.key !== "Delete") return false;
              setAsked({ is: "delete_value", value });
              return true;
            }}
            menu={(value, tabIndex) => (
              <Menu
                trigger={
                  <Button
                    size="iconSm"
                    variant="quiet"
                    tabIndex={tabIndex}
                    aria-label={`Actions for ${value.name || "(default)"}`}
                  >
                    <Ellipsis aria-hidden />
                  </Button>
                }
              >
                <MenuItem onSelect={() => setAsked({ is: "value", value })}>
                  {isEditable(value) ? "Edit" : "Look at it"}
                </MenuItem>
                <MenuSeparator />
                <MenuItem danger onSelect={() => setAsked({ is: "delete_value", value })}>
                  Delete
                </MenuItem>
              </Menu>
            )}
            className="flex-1"
          />
        )}
      </div>
      {asked?.is === "value" && (
        <EditValue
          channel={channel}
          within={key}
          value={asked.value}
          onClose={close}
          onChanged={() => refresh(key)}
        />
      )}
      {asked?.is === "key" && (
        <CreateKey
          channel={channel}
          within={key}
          onClose={close}
          onCreated={(created) => refresh(key).then(() => goTo(created))}
        />
      )}
      {asked?.is === "delete_value" && (
        <Delete
          title={`Delete ${asked.value.name || "the default value"}?`}
          run={() => channel.ask({ do: "delete_value", key, name: asked.value.name })}
          onClose={close}
          onDone={() => refresh(key)}
        >
          The value goes from {key}.
        </Delete>
      )}
      {asked?.is === "delete_key" && (
        <Delete
          title={`Delete ${keyName(key)}?`}
          typed={keyName(key)}
          run={() => channel.ask({ do: "delete_key", key, recursive: true })}
          onClose={close}
          onDone={() => refresh(parentKey(key)).then(() => goTo(parentKey(key)))}
        >
          The key goes with all keys and values in it. Export it first if you may want it back.
        </Delete>
      )}
    </section>
  );
}

function utf16(text: string): ArrayBuffer {
  const units = new Uint16Array(text.length + 1);
  units[0] = 0xfeff;
  for (let at = 0; at < text.length; at++) units[at + 1] = text.charCodeAt(at);
  return units.buffer;
}

/** Some keys hold thousands; as many show at a time. */
const SHOWN_KEYS = 500;

/** The keys below one; of each what is below it comes when it is unfolded. */
function Branches({
  channel,
  sessionId,
  of,
  chosen,
  onChoose,
}: {
  channel: Registry;
  sessionId: string;
  of: string;
  chosen: string;
  onChoose: (key: string) => void;
}) {
  const query = useQuery(queryOf(channel, sessionId, of));
  const [most, setMost] = useState(SHOWN_KEYS);
  if (query.isPending) {
    return (
      <p role="status" aria-label="Loading" className="px-6 py-1 text-ink-3 text-sm">
        Reading
      </p>
    );
  }
  if (query.isError) {
    return of === "" ? (
      <ErrorState error={query.error} onRetry={() => query.refetch()} className="py-6" />
    ) : (
      <p role="alert" className="px-6 py-1 text-crit text-sm">
        {errorMessage(query.error)}
      </p>
    );
  }
  if (query.data.keys.length === 0) {
    return of === "" ? null : <p className="px-6 py-1 text-ink-3 text-sm">No keys in it</p>;
  }
  return (
    <ul className={cn(of !== "" && "ml-3.5 border-l pl-0.5")}>
      {query.data.keys.slice(0, most).map((name) => (
        <Branch
          key={name}
          channel={channel}
          sessionId={sessionId}
          of={joinKey(of, name)}
          chosen={chosen}
          onChoose={onChoose}
        />
      ))}
      {query.data.keys.length > most && (
        <li className="px-6 py-1">
          <Button size="sm" onClick={() => setMost(most + SHOWN_KEYS)}>
            Show more
          </Button>
        </li>
      )}
    </ul>
  );
}

function Branch({
  of,
  chosen,
  onChoose,
  ...rest
}: {
  channel: Registry;
  sessionId: string;
  of: string;
  chosen: string;
  onChoose: (key: string) => void;
}) {
  // What the address names is unfolded down to it.
  const [isOpen, setOpen] = useState(chosen.startsWith(`${of}\\`));
  const Chevron = isOpen ? ChevronDown : ChevronRight;
  const name = keyName(of);
  return (
    <li>
      <div
        className={cn(
          "flex items-center rounded-md pr-1 hover:bg-hover",
          of === chosen && "bg-accent-soft hover:bg-accent-soft",
        )}
      >
        <button
          type="button"
          aria-expanded={isOpen}
          aria-label={`Keys in ${name}`}
          onClick={() => setOpen(!isOpen)}
          className="grid size-6 shrink-0 place-items-center rounded-sm text-ink-3 hover:text-ink"
        >
          <Chevron aria-hidden className="size-4" />
        </button>
        <button
          type="button"
          aria-current={of === chosen ? "true" : undefined}
          onClick={() => onChoose(of)}
          onDoubleClick={() => setOpen(!isOpen)}
          className="min-w-0 flex-1 truncate rounded-sm py-0.5 text-left text-base focus-visible:-outline-offset-2"
        >
          {name}
        </button>
      </div>
      {isOpen && <Branches of={of} chosen={chosen} onChoose={onChoose} {...rest} />}
    </li>
  );
}

function KeyPath({ current, onGo }: { current: string; onGo: (key: string) => void }) {
  const [typed, setTyped] = useState<string | null>(null);
  return (
    <form
      className="min-w-0 flex-1 basis-48"
      onSubmit={(event) => {
        event.preventDefault();
        if (typed !== null) onGo(typed.trim().replace(/\\+$/, ""));
        setTyped(null);
      }}
    >
      <input
        aria-label="Key"
        placeholder="HKEY_LOCAL_MACHINE\SOFTWARE"
        value={typed ?? current}
        spellCheck={false}
        autoComplete="off"
        onChange={({ target }) => setTyped(target.value)}
        onBlur={() => setTyped(null)}
        className="h-7 w-full rounded-md border border-control bg-surface px-2 font-mono text-sm placeholder:text-ink-3"
      />
    </form>
  );
}

const nameOf = ({ name }: RegistryValue) => name || "(default)";
const isEditable = ({ value, is_cut }: RegistryValue) => value.type !== "other" && !is_cut;

function Data({ value }: { value: RegistryValue }) {
  return (
    <span className="block truncate font-mono text-ink-2 text-sm">
      {dataText(value.value)}
      {value.is_cut && " (cut)"}
    </span>
  );
}

const WIDE: Column<RegistryValue>[] = [
  {
    ...{ id: "name", label: "Name", width: "minmax(10rem,1fr)" },
    cell: (value) => <span className="block truncate">{nameOf(value)}</span>,
  },
  {
    ...{ id: "type", label: "Type", width: "9rem" },
    cell: ({ value }) => <span className="text-ink-2 text-sm">{TYPE_NAMES[value.type]}</span>,
  },
  {
    ...{ id: "data", label: "Data", width: "minmax(10rem,2fr)" },
    cell: (value) => <Data value={value} />,
  },
];
const NARROW: Column<RegistryValue>[] = [
  {
    ...{ id: "name", label: "Name", width: "minmax(0,1fr)" },
    cell: (value) => (
      <div className="min-w-0">
        <p className="truncate">
          {nameOf(value)} <span className="text-ink-3 text-sm">{TYPE_NAMES[value.value.type]}</span>
        </p>
        <Data value={value} />
      </div>
    ),
  },
];

function EditValue({
  channel,
  within,
  value,
  onClose,
  onChanged,
}: {
  channel: Registry;
  within: string;
  value: RegistryValue | null;
  onClose: () => void;
  onChanged: () => void;
}) {
  const [name, setName] = useState(value?.name ?? "");
  const [type, setType] = useState<RegistryType>(
    value && value.value.type !== "other" ? value.value.type : "string",
  );
  const [text, setText] = useState(value ? editText(value.value) : "");
  const isReadOnly = value !== null && !isEditable(value);
  const parsed = parseData(type, text);
  const problem = "problem" in parsed ? parsed.problem : undefined;
  const set = useMutation({
    mutationFn: async () => {
      if ("problem" in parsed) return;
      await channel.ask({ do: "set_value", key: within, name, value: parsed });
    },
    onSuccess: () => {
      onChanged();
      onClose();
    },
  });
  const isLong = type === "multi_string" || type === "binary" || text.length > 60;
  return (
    <Dialog
      open
      onOpenChange={(open) => {
        if (!open) onClose();
      }}
      title={value ? nameOf(value) : "New value"}
      description={<span className="font-mono text-sm wrap-anywhere">{within}</span>}
    >
      <form
        className="grid gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          if (!isReadOnly && problem === undefined) set.mutate();
        }}
      >
        {value === null && (
          <Field label="Name" hint="Empty: the key's default value.">
            <Input
              value={name}
              autoComplete="off"
              onChange={({ target }) => setName(target.value)}
            />
          </Field>
        )}
        <Field label="Type">
          <Select
            value={type}
            disabled={value !== null}
            onChange={({ target }) => setType(target.value as RegistryType)}
          >
            {TYPES.map((one) => (
              <option key={one} value={one}>
                {TYPE_NAMES[one]}
              </option>
            ))}
          </Select>
        </Field>
        <Field
          label="Data"
          hint={
            isReadOnly
              ? "It can only be looked at: it is of another type, or longer than what is edited here."
              : type === "multi_string"
                ? "One text on each line."
                : undefined
          }
          error={text === "" || isReadOnly ? undefined : problem}
        >
          {isLong ? (
            <Textarea
              value={text}
              readOnly={isReadOnly}
              spellCheck={false}
              rows={6}
              className="font-mono"
              onChange={({ target }) => setText(target.value)}
            />
          ) : (
            <Input
              value={text}
              readOnly={isReadOnly}
              spellCheck={false}
              autoComplete="off"
              className="font-mono"
              onChange={({ target }) => setText(target.value)}
            />
          )}
        </Field>
        <FormError>{set.error && errorMessage(set.error)}</FormError>
        <DialogActions>
          <Button onClick={onClose}>{isReadOnly ? "Close" : "Cancel"}</Button>
          {!isReadOnly && (
            <Button
              type="submit"
              variant="primary"
              busy={set.isPending}
              disabled={problem !== undefined}
            >
              Set
            </Button>
          )}
        </DialogActions>
      </form>
    </Dialog>
  );
}

function CreateKey({
  channel,
  within,
  onClose,
  onCreated,
}: {
  channel: Registry;
  within: string;
  onClose: () => void;
  onCreated: (key: string) => void;
}) {
  const [name, setName] = useState("");
  const isName = name.trim() !== "" && !name.includes("\\");
  const create = useMutation({
    mutationFn: () => channel.ask({ do: "create_key", key: joinKey(within, name.trim()) }),
    onSuccess: () => {
      onClose();
      onCreated(joinKey(within, name.trim()));
    },
  });
  return (
    <Dialog
      open
      onOpenChange={(open) => {
        if (!open) onClose();
      }}
      title="New key"
      description={<span className="font-mono text-sm wrap-anywhere">{within}</span>}
    >
      <form
        className="grid gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          if (isName) create.mutate();
        }}
      >
        <Field label="Name" error={name.includes("\\") ? "A name has no backslash." : undefined}>
          <Input value={name} autoComplete="off" onChange={({ target }) => setName(target.value)} />
        </Field>
        <FormError>{create.error && errorMessage(create.error)}</FormError>
        <DialogActions>
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" variant="primary" busy={create.isPending} disabled={!isName}>
            Create
          </Button>
        </DialogActions>
      </form>
    </Dialog>
  );
}

function Delete({
  title,
  typed,
  run,
  onClose,
  onDone,
  children,
}: {
  title: string;
  typed?: string;
  run: () => Promise<unknown>;
  onClose: () => void;
  onDone: () => void;
  children: ReactNode;
}) {
  const remove = useMutation({
    mutationFn: run,
    onSuccess: () => {
      onDone();
      onClose();
    },
  });
  return (
    <Confirm
      open
      onOpenChange={(open) => {
        if (!open) onClose();
      }}
      title={title}
      action="Delete"
      typed={typed}
      busy={remove.isPending}
      error={remove.error && errorMessage(remove.error)}
      onConfirm={() => remove.mutate()}
    >
      <p>{children}</p>
    </Confirm>
  );
}
