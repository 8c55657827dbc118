import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import {
  ArrowUp,
  ChevronRight,
  Download,
  Ellipsis,
  File as FileIcon,
  FileQuestion,
  FileSymlink,
  Folder as FolderIcon,
  FolderPlus,
  HardDrive,
  RefreshCw,
  Upload,
} from "lucide-react";
import { type DragEvent, lazy, Suspense, useEffect, useMemo, useRef, useState } from "react";
import { keys } from "../../../api/keys";
import { formatBytes, formatCount, formatDateTime, plural } from "../../../lib/format";
import { useWide } from "../../../lib/media";
import { Button } from "../../../ui/button";
import { cn } from "../../../ui/cn";
import { type Column, Grid, type Sort } from "../../../ui/grid";
import { SearchInput } from "../../../ui/input";
import { Menu, MenuCheck, MenuItem, MenuLabel, MenuSeparator } from "../../../ui/menu";
import { EmptyState, ErrorState, SkeletonRows } from "../../../ui/states";
import { toast } from "../../../ui/toast";
import { openFiles } from "../requests";
import { useRequests, useTunnel, useTunnelState, whyNot } from "../tunnel-react";
import { Unavailable } from "../unavailable";
import { type Entry, MAX_TEXT_BYTES, type Place } from "../wire";
import { type Dropped, MAX_DROPPED, readChosen, readDrop } from "./dropped";
import { type FileDialog, FileDialogs } from "./file-dialogs";
import { type Folder, leadsToFolder, listFolder, modeText, sortEntries } from "./listing";
import { crumbsOf, joinPath, nameOf, parentOf } from "./paths";
import {
  canStream,
  canStreamMany,
  chooseFile,
  chooseFolder,
  contentAddress,
  downloadBy,
} from "./save";
import { TransferList } from "./transfer-list";
import type { Transfers } from "./transfers";

const Editor = lazy(async () => ({ default: (await import("./editor")).Editor }));

const NONE: ReadonlySet<string> = new Set();

/** The machine's files. */
export function FilesTab({ sessionId, transfers }: { sessionId: string; transfers: Transfers }) {
  const tunnel = useTunnel();
  const state = useTunnelState(tunnel);
  const files = useRequests(openFiles);
  const reason = whyNot(state, "files");
  const { path: asked } = useSearch({ from: "/app/agents/$agentId/session" });
  const navigate = useNavigate({ from: "/agents/$agentId/session" });
  const places = useQuery({
    queryKey: [...keys.tunnel(sessionId), "places"],
    enabled: files !== null && reason === null,
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: async (): Promise<Place[]> => {
      const answer = await files?.ask({ do: "places" });
      return answer?.is === "places" ? answer.places : [];
    },
  });
  const path = asked ?? places.data?.[0]?.path;
  const goTo = (next: string) => navigate({ search: (former) => ({ ...former, path: next }) });
  if (reason) return <Unavailable kind="files" reason={reason} />;
  if (places.isError && !path) {
    return <ErrorState error={places.error} onRetry={() => places.refetch()} />;
  }
  if (files && places.data?.length === 0 && !path) {
    return <EmptyState title="No folder may be reached in this session" />;
  }
  if (!files || !path) return <SkeletonRows rows={10} />;
  return (
    <FolderView
      key={path}
      sessionId={sessionId}
      path={path}
      files={files}
      places={places.data ?? []}
      transfers={transfers}
      onGo={goTo}
    />
  );
}

function FolderView({
  sessionId,
  path,
  files,
  places,
  transfers,
  onGo,
}: {
  sessionId: string;
  path: string;
  files: NonNullable<ReturnType<typeof useRequests<ReturnType<typeof openFiles>>>>;
  places: readonly Place[];
  transfers: Transfers;
  onGo: (path: string) => void;
}) {
  const isWide = useWide();
  const queryClient = useQueryClient();
  const [count, setCount] = useState(0);
  const [sort, setSort] = useState<Sort>({ by: "name", isDescending: false });
  const [text, setText] = useState("");
  const [showsHidden, setShowsHidden] = useState(true);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(NONE);
  const [dialog, setDialog] = useState<FileDialog | null>(null);
  const [edited, setEdited] = useState<string | null>(null);
  const [isOver, setIsOver] = useState(false);
  const queryKey = [...keys.tunnel(sessionId), "files", path];
  const query = useQuery({
    queryKey,
    queryFn: ({ signal }) => listFolder(files, path, signal, setCount),
    gcTime: 0,
    staleTime: Number.POSITIVE_INFINITY,
    refetchOnMount: "always",
  });
  const refresh = () => queryClient.invalidateQueries({ queryKey });
  const folder: Folder | undefined = query.data;
  const here = folder?.path ?? path;

  const rows = useMemo(() => {
    const wanted = text.trim().toLowerCase();
    const matching = (folder?.entries ?? []).filter(
      ({ name, is_hidden }) =>
        (showsHidden || !is_hidden) && (!wanted || name.toLowerCase().includes(wanted)),
    );
    return sortEntries(matching, sort);
  }, [folder, sort, text, showsHidden]);
  const chosenRows = rows.filter(({ name }) => chosen.has(name));

  const open = async (entry: Entry) => {
    const target = joinPath(here, entry.name);
    if (entry.is_unnameable) return;
    if (entry.kind === "folder") onGo(target);
    else if (entry.kind === "link" && (await leadsToFolder(files, target))) onGo(target);
    else if (entry.size <= MAX_TEXT_BYTES && entry.kind !== "other") setEdited(target);
    else setDialog({ is: "details", entry, path: target });
  };

  const download = useMutation({
    mutationFn: (entries: readonly Entry[]) => save(sessionId, here, entries, transfers),
    onError: toast.failed,
  });
  const send = useMutation({
    mutationFn: async (dropped: Dropped) => {
      for (const relative of dropped.folders) await makeFolder(joinRelative(here, relative));
      for (const { path: relative, file } of dropped.files) {
        transfers.upload(file, joinRelative(here, relative));
      }
      if (dropped.isCut) {
        toast.done(`Only the first ${formatCount(MAX_DROPPED)} files and folders are sent.`);
      }
    },
    onError: toast.failed,
    onSettled: refresh,
  });
  const makeFolder = async (target: string) => {
    try {
      await files.ask({ do: "make_folder", path: target });
    } catch (error) {
      // What is there already is what is wanted.
      const there = await files.ask({ do: "stat", path: target }).catch(() => null);
      if (there?.is !== "entry" || there.entry.kind !== "folder") throw error;
    }
  };

  // A file that has arrived shows.
  useArrivals(transfers, here, refresh);

  const actions = (entry: Entry, tabIndex: number) => (
    <EntryMenu
      entry={entry}
      tabIndex={tabIndex}
      onOpen={() => open(entry)}
      onDownload={() => download.mutate([entry])}
      onDialog={(is) => setDialog(dialogOf(is, here, entry))}
    />
  );
  const drag = {
    onDragOver: (event: DragEvent) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      setIsOver(true);
    },
    onDragLeave: (event: DragEvent) => {
      if (!event.currentTarget.contains(event.relatedTarget as Node | null)) setIsOver(false);
    },
    onDrop: (event: DragEvent) => {
      event.preventDefault();
      setIsOver(false);
      readDrop(event.dataTransfer).then(send.mutate, toast.failed);
    },
  };

  return (
    <section aria-label="Files" className="absolute inset-0 flex flex-col bg-surface" {...drag}>
      <PathBar
        path={here}
        places={places}
        isLoading={query.isFetching}
        onGo={onGo}
        onRefresh={refresh}
      />
      <div className="flex flex-wrap items-center gap-2 border-b px-3 py-1.5">
        <SearchInput
          label="Names that contain"
          value={text}
          onSearch={setText}
          className="w-full sm:w-52"
        />
        <UploadMenu onChosen={send.mutate} />
        <Button size="sm" onClick={() => setDialog({ is: "make_folder", path: here })}>
          <FolderPlus aria-hidden />
          New folder
        </Button>
        {chosenRows.length > 0 && (
          <span className="flex flex-wrap items-center gap-2">
            <Button size="sm" onClick={() => download.mutate(chosenRows)}>
              <Download aria-hidden />
              Download
            </Button>
            <Button
              size="sm"
              onClick={() =>
                setDialog({ is: "move", folder: here, names: chosenRows.map(({ name }) => name) })
              }
            >
              Move or copy
            </Button>
            <Button
              size="sm"
              variant="dangerOutline"
              onClick={() => setDialog({ is: "delete", folder: here, entries: chosenRows })}
            >
              Delete
            </Button>
          </span>
        )}
        <p className="ml-auto text-ink-3 text-sm" role="status">
          {query.isFetching && count > 0
            ? `${formatCount(count)} so far`
            : chosenRows.length > 0
              ? `${formatCount(chosenRows.length)} of ${formatCount(rows.length)} chosen`
              : folder && plural(rows.length, "entry", "entries")}
        </p>
        <Menu
          trigger={
            <Button size="iconSm" variant="quiet" aria-label="What is shown">
              <Ellipsis aria-hidden />
            </Button>
          }
        >
          <MenuCheck checked={showsHidden} onCheckedChange={setShowsHidden}>
            Hidden files
          </MenuCheck>
        </Menu>
      </div>
      <div className="relative flex min-h-0 flex-1 flex-col">
        {query.isError ? (
          <ErrorState error={query.error} onRetry={() => query.refetch()} />
        ) : !folder ? (
          <SkeletonRows rows={10} />
        ) : rows.length === 0 ? (
          <EmptyState
            title={folder.entries.length === 0 ? "This folder is empty" : "No name matches"}
          >
            {folder.entries.length === 0 && "Drop files here to send them."}
          </EmptyState>
        ) : (
          <Grid
            label={`In ${here}`}
            rows={rows}
            rowKey={keyOf}
            rowText={keyOf}
            columns={isWide ? wideColumns(open) : narrowColumns(open)}
            isWide={isWide}
            sort={sort}
            onSort={setSort}
            chosen={chosen}
            onChoose={setChosen}
            onOpen={open}
            onKey={(event, entry) => {
              if (event.key === "Delete") {
                const entries = chosenRows.includes(entry) ? chosenRows : [entry];
                setDialog({ is: "delete", folder: here, entries });
              } else if (event.key === "F2") setDialog(dialogOf("rename", here, entry));
              else if (event.key === "Backspace") {
                const up = parentOf(here);
                if (up) onGo(up);
              } else return false;
              return true;
            }}
            menu={actions}
            className="flex-1"
          />
        )}
        {isOver && (
          <div className="pointer-events-none absolute inset-2 grid place-items-center rounded-lg border-2 border-accent border-dashed bg-accent-soft/80 font-medium text-accent text-lg">
            Send to {nameOf(here)}
          </div>
        )}
      </div>
      <TransferList transfers={transfers} />
      <FileDialogs
        files={files}
        dialog={dialog}
        onClose={() => setDialog(null)}
        onChanged={() => {
          setChosen(NONE);
          refresh();
        }}
        onDownload={(entry) => download.mutate([entry])}
      />
      {edited && (
        <Suspense fallback={null}>
          <Editor
            files={files}
            path={edited}
            onClose={(isChanged) => {
              setEdited(null);
              if (isChanged) refresh();
            }}
            onDownload={() => {
              const entry = rows.find(({ name }) => joinPath(here, name) === edited);
              if (entry) download.mutate([entry]);
            }}
          />
        </Suspense>
      )}
    </section>
  );
}

const keyOf = ({ name }: Entry) => name;

function joinRelative(folder: string, relative: string): string {
  return relative.split("/").reduce(joinPath, folder);
}

function dialogOf(is: EntryAction, folder: string, entry: Entry): FileDialog {
  const path = joinPath(folder, entry.name);
  if (is === "delete") return { is, folder, entries: [entry] };
  if (is === "move") return { is, folder, names: [entry.name] };
  return { is, entry, path };
}

/** Writes what comes where its user has chosen; where the browser has no such thing, it downloads by itself. */
async function save(
  sessionId: string,
  folder: string,
  entries: readonly Entry[],
  transfers: Transfers,
) {
  const wanted = entries.map((entry) => {
    const isArchive = entry.kind === "folder";
    const name = isArchive ? `${entry.name}.tar.gz` : entry.name;
    return { entry, isArchive, name, path: joinPath(folder, entry.name) };
  });
  const [first] = wanted;
  if (!first) return;
  if (wanted.length === 1 && canStream()) {
    const sink = await chooseFile(first.name);
    const size = first.isArchive ? null : first.entry.size;
    if (sink) transfers.download(first.name, first.path, size, sink);
  } else if (wanted.length > 1 && canStreamMany()) {
    const make = await chooseFolder();
    for (const { name, path, isArchive, entry } of make ? wanted : []) {
      const sink = await make?.(name);
      if (sink) transfers.download(name, path, isArchive ? null : entry.size, sink);
    }
  } else {
    for (const { name, path, isArchive } of wanted) {
      downloadBy(contentAddress(sessionId, path, isArchive), name);
    }
  }
}

/** Calls when uploads into this folder have ended. */
function useArrivals(transfers: Transfers, folder: string, onArrival: () => void) {
  const latest = useRef(onArrival);
  useEffect(() => {
    latest.current = onArrival;
  });
  useEffect(() => {
    const arrived = () =>
      transfers
        .getList()
        .filter(
          ({ direction, state, path }) =>
            direction === "up" && state === "done" && parentOf(path) === folder,
        ).length;
    let before = arrived();
    let timer: ReturnType<typeof setTimeout> | null = null;
    const stop = transfers.onChange(() => {
      const now = arrived();
      // Many small files come one after the other; the folder is read once.
      if (now > before)
        timer ??= setTimeout(() => {
          timer = null;
          latest.current();
        }, 500);
      before = now;
    });
    return () => {
      stop();
      if (timer !== null) clearTimeout(timer);
    };
  }, [transfers, folder]);
}

function PathBar({
  path,
  places,
  isLoading,
  onGo,
  onRefresh,
}: {
  path: string;
  places: readonly Place[];
  isLoading: boolean;
  onGo: (path: string) => void;
  onRefresh: () => void;
}) {
  const [typed, setTyped] = useState<string | null>(null);
  const up = parentOf(path);
  const end = useRef<HTMLLIElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a longer path is read from its end
  useEffect(() => {
    end.current?.scrollIntoView({ inline: "end", block: "nearest" });
  }, [path]);
  return (
    <div className="flex items-center gap-1 border-b bg-canvas px-2 py-1.5">
      {places.length > 1 && (
        <Menu
          align="start"
          trigger={
            <Button size="iconSm" variant="quiet" aria-label="Places">
              <HardDrive aria-hidden />
            </Button>
          }
        >
          <MenuLabel>Places</MenuLabel>
          {places.map((place) => (
            <MenuItem key={place.path} onSelect={() => onGo(place.path)}>
              {place.label}
              <span className="ml-auto pl-4 font-mono text-ink-3 text-sm">{place.path}</span>
            </MenuItem>
          ))}
        </Menu>
      )}
      <Button
        size="iconSm"
        variant="quiet"
        aria-label="To the folder above"
        disabled={up === null}
        onClick={() => up && onGo(up)}
      >
        <ArrowUp aria-hidden />
      </Button>
      <Button size="iconSm" variant="quiet" aria-label="Read the folder again" onClick={onRefresh}>
        <RefreshCw aria-hidden className={cn(isLoading && "animate-spin")} />
      </Button>
      {typed === null ? (
        <nav aria-label="Path" className="scroll-thin min-w-0 flex-1 overflow-x-auto">
          <ol className="flex w-max items-center font-mono text-sm">
            {crumbsOf(path).map((crumb, index, all) => (
              <li
                key={crumb.path}
                ref={index === all.length - 1 ? end : undefined}
                className="flex items-center"
              >
                {index > 0 && <ChevronRight aria-hidden className="size-3.5 text-ink-3" />}
                <button
                  type="button"
                  aria-current={index === all.length - 1 ? "location" : undefined}
                  onClick={() => onGo(crumb.path)}
                  className="max-w-60 truncate rounded-sm px-1 py-0.5 hover:bg-hover focus-visible:-outline-offset-2 aria-[current]:font-medium"
                >
                  {crumb.label}
                </button>
              </li>
            ))}
          </ol>
        </nav>
      ) : (
        <form
          className="min-w-0 flex-1"
          onSubmit={(event) => {
            event.preventDefault();
            setTyped(null);
            if (typed.trim()) onGo(typed.trim());
          }}
        >
          <input
            ref={(input) => input?.focus()}
            aria-label="Path"
            value={typed}
            spellCheck={false}
            autoComplete="off"
            onChange={({ target }) => setTyped(target.value)}
            onBlur={() => setTyped(null)}
            onKeyDown={({ key }) => {
              if (key === "Escape") setTyped(null);
            }}
            className="h-7 w-full rounded-md border border-control bg-surface px-2 font-mono text-sm"
          />
        </form>
      )}
      <Button size="sm" variant="quiet" onClick={() => setTyped(path)}>
        Type a path
      </Button>
    </div>
  );
}

function UploadMenu({ onChosen }: { onChosen: (dropped: Dropped) => void }) {
  const forFiles = useRef<HTMLInputElement>(null);
  const forFolder = useRef<HTMLInputElement>(null);
  const take = ({ target }: { target: HTMLInputElement }) => {
    if (target.files?.length) onChosen(readChosen(target.files));
    target.value = "";
  };
  return (
    <>
      <Menu
        align="start"
        trigger={
          <Button size="sm">
            <Upload aria-hidden />
            Upload
          </Button>
        }
      >
        <MenuItem onSelect={() => forFiles.current?.click()}>Files</MenuItem>
        <MenuItem onSelect={() => forFolder.current?.click()}>A folder</MenuItem>
      </Menu>
      <input
        ref={forFiles}
        type="file"
        multiple
        hidden
        aria-label="Files to send"
        onChange={take}
      />
      <input
        ref={(input) => {
          forFolder.current = input;
          if (input) input.webkitdirectory = true;
        }}
        type="file"
        hidden
        aria-label="Folder to send"
        onChange={take}
      />
    </>
  );
}

type EntryAction = "details" | "rename" | "move" | "permissions" | "delete";

function EntryMenu({
  entry,
  tabIndex,
  onOpen,
  onDownload,
  onDialog,
}: {
  entry: Entry;
  tabIndex: number;
  onOpen: () => void;
  onDownload: () => void;
  onDialog: (is: EntryAction) => void;
}) {
  const isSmall = entry.kind !== "folder" && entry.kind !== "other" && entry.size <= MAX_TEXT_BYTES;
  return (
    <Menu
      trigger={
        <Button
          size="iconSm"
          variant="quiet"
          tabIndex={tabIndex}
          aria-label={`Actions for ${entry.name}`}
          onClick={(event) => event.stopPropagation()}
          onDoubleClick={(event) => event.stopPropagation()}
        >
          <Ellipsis aria-hidden />
        </Button>
      }
    >
      {entry.is_unnameable ? (
        <MenuLabel>Its name is not Unicode, so nothing here can name it.</MenuLabel>
      ) : (
        <>
          {entry.kind === "folder" && <MenuItem onSelect={onOpen}>Open</MenuItem>}
          {entry.kind === "link" && <MenuItem onSelect={onOpen}>Follow</MenuItem>}
          {entry.kind === "file" && isSmall && <MenuItem onSelect={onOpen}>Edit as text</MenuItem>}
          {entry.kind !== "other" && (
            <MenuItem onSelect={onDownload}>
              {entry.kind === "folder" ? "Download as an archive" : "Download"}
            </MenuItem>
          )}
          <MenuItem onSelect={() => onDialog("details")}>Details</MenuItem>
          <MenuSeparator />
          <MenuItem onSelect={() => onDialog("rename")}>Rename</MenuItem>
          <MenuItem onSelect={() => onDialog("move")}>Move or copy</MenuItem>
          {entry.mode !== undefined && entry.kind !== "link" && (
            <MenuItem onSelect={() => onDialog("permissions")}>Permissions and owner</MenuItem>
          )}
          <MenuSeparator />
          <MenuItem danger onSelect={() => onDialog("delete")}>
            Delete
          </MenuItem>
        </>
      )}
    </Menu>
  );
}

const ICONS = { folder: FolderIcon, file: FileIcon, link: FileSymlink, other: FileQuestion };
const KIND_WORDS: Record<Entry["kind"], string> = {
  folder: "Folder",
  file: "File",
  link: "Link",
  other: "Device, pipe or socket",
};

function Name({ entry, onOpen }: { entry: Entry; onOpen: (entry: Entry) => void }) {
  const Icon = ICONS[entry.kind];
  return (
    <span className="flex min-w-0 items-center gap-2">
      <Icon
        aria-label={KIND_WORDS[entry.kind]}
        role="img"
        className={cn("size-4 shrink-0", entry.kind === "folder" ? "text-accent" : "text-ink-3")}
      />
      <button
        type="button"
        tabIndex={-1}
        title={entry.name}
        onClick={(event) => {
          event.stopPropagation();
          onOpen(entry);
        }}
        onDoubleClick={(event) => event.stopPropagation()}
        className={cn(
          "truncate rounded-sm text-left hover:underline",
          entry.is_hidden && "text-ink-2",
        )}
      >
        {entry.name}
      </button>
      {entry.target !== undefined && (
        <span className="shrink-[2] truncate text-ink-3 text-sm" title={entry.target}>
          to {entry.target}
        </span>
      )}
    </span>
  );
}

const sizeOf = ({ kind, size }: Entry) => (kind === "file" ? formatBytes(size) : "");
const modifiedOf = ({ modified_ms }: Entry) =>
  modified_ms === undefined ? "" : formatDateTime(modified_ms);
const ownerOf = ({ owner, group }: Entry) => [owner, group].filter(Boolean).join(":");

function wideColumns(onOpen: (entry: Entry) => void): Column<Entry>[] {
  return [
    {
      ...{ id: "name", label: "Name", width: "minmax(12rem,1fr)", isSorted: true },
      cell: (entry) => <Name entry={entry} onOpen={onOpen} />,
    },
    {
      ...{ id: "size", label: "Size", width: "6rem", isSorted: true, isRight: true },
      cell: (entry) => <span className="text-ink-2">{sizeOf(entry)}</span>,
    },
    {
      ...{ id: "modified", label: "Changed", width: "12rem", isSorted: true },
      cell: (entry) => <span className="block truncate text-ink-2">{modifiedOf(entry)}</span>,
    },
    {
      ...{ id: "mode", label: "Permissions", width: "6.5rem" },
      cell: ({ mode }) => (
        <span className="font-mono text-ink-2 text-sm">
          {mode === undefined ? "" : modeText(mode)}
        </span>
      ),
    },
    {
      ...{ id: "owner", label: "Owner", width: "8rem" },
      cell: (entry) => <span className="block truncate text-ink-2">{ownerOf(entry)}</span>,
    },
  ];
}

function narrowColumns(onOpen: (entry: Entry) => void): Column<Entry>[] {
  return [
    {
      ...{ id: "name", label: "Name", width: "minmax(0,1fr)", isSorted: true },
      cell: (entry) => (
        <div className="min-w-0">
          <Name entry={entry} onOpen={onOpen} />
          <p className="truncate pl-6 text-ink-3 text-sm">
            {[sizeOf(entry), modifiedOf(entry)].filter(Boolean).join(", ")}
          </p>
        </div>
      ),
    },
  ];
}
