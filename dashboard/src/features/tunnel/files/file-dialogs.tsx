import { useMutation } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { formatBytes, formatCount, formatDateTime, plural } from "../../../lib/format";
import { errorMessage } from "../../../lib/problem";
import { Button } from "../../../ui/button";
import { Confirm } from "../../../ui/confirm";
import { Dialog, DialogActions } from "../../../ui/dialog";
import { Field, FormError } from "../../../ui/field";
import { Input } from "../../../ui/input";
import { Fact, Facts } from "../../../ui/panel";
import { Segmented } from "../../../ui/segmented";
import { toast } from "../../../ui/toast";
import { Checkbox } from "../../../ui/toggle";
import type { Files } from "../requests";
import type { Entry } from "../wire";
import { modeText } from "./listing";
import { joinPath, nameProblem, parentOf } from "./paths";

/** What is asked about files. */
export type FileDialog =
  | { is: "make_folder"; path: string }
  | { is: "rename" | "details" | "permissions"; entry: Entry; path: string }
  | { is: "move"; folder: string; names: readonly string[] }
  | { is: "delete"; folder: string; entries: readonly Entry[] };

interface Common {
  files: Files;
  onClose: () => void;
  onChanged: () => void;
}

export function FileDialogs({
  dialog,
  onDownload,
  ...common
}: Common & { dialog: FileDialog | null; onDownload: (entry: Entry) => void }) {
  if (!dialog) return null;
  switch (dialog.is) {
    case "make_folder":
      return <MakeFolder folder={dialog.path} {...common} />;
    case "rename":
      return <Rename {...dialog} {...common} />;
    case "move":
      return <Move {...dialog} {...common} />;
    case "delete":
      return <Delete {...dialog} {...common} />;
    case "permissions":
      return <Permissions {...dialog} {...common} />;
    case "details":
      return <Details {...dialog} onDownload={onDownload} onClose={common.onClose} />;
  }
}

/** A dialog with one form, whose request is made when it is sent. */
function FormDialog({
  title,
  description,
  action,
  isComplete,
  run,
  onClose,
  onChanged,
  children,
}: {
  title: string;
  description?: ReactNode;
  action: string;
  isComplete: boolean;
  run: () => Promise<unknown>;
  onClose: () => void;
  onChanged: () => void;
  children: ReactNode;
}) {
  const change = useMutation({
    mutationFn: run,
    onSuccess: () => {
      onChanged();
      onClose();
    },
  });
  return (
    <Dialog
      open
      onOpenChange={(open) => {
        if (!open) onClose();
      }}
      title={title}
      description={description}
    >
      <form
        className="grid gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          if (isComplete) change.mutate();
        }}
      >
        {children}
        <FormError>{change.error && errorMessage(change.error)}</FormError>
        <DialogActions>
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" variant="primary" busy={change.isPending} disabled={!isComplete}>
            {action}
          </Button>
        </DialogActions>
      </form>
    </Dialog>
  );
}

function NameField({
  folder,
  name,
  onChange,
}: {
  folder: string;
  name: string;
  onChange: (name: string) => void;
}) {
  const problem = name === "" ? undefined : (nameProblem(folder, name) ?? undefined);
  return (
    <Field label="Name" error={problem}>
      <Input
        value={name}
        autoComplete="off"
        spellCheck={false}
        onChange={({ target }) => onChange(target.value)}
      />
    </Field>
  );
}

function MakeFolder({ folder, files, onClose, onChanged }: Common & { folder: string }) {
  const [name, setName] = useState("");
  return (
    <FormDialog
      title="New folder"
      description={<>In {folder}</>}
      action="Make folder"
      isComplete={nameProblem(folder, name) === null}
      run={() => files.ask({ do: "make_folder", path: joinPath(folder, name) })}
      onClose={onClose}
      onChanged={onChanged}
    >
      <NameField folder={folder} name={name} onChange={setName} />
    </FormDialog>
  );
}

function Rename({
  entry,
  path,
  files,
  onClose,
  onChanged,
}: Common & { entry: Entry; path: string }) {
  const [name, setName] = useState(entry.name);
  const folder = parentOf(path) ?? "/";
  return (
    <FormDialog
      title={`Rename ${entry.name}`}
      action="Rename"
      isComplete={name !== entry.name && nameProblem(folder, name) === null}
      run={() => files.ask({ do: "rename", from: path, to: joinPath(folder, name) })}
      onClose={onClose}
      onChanged={onChanged}
    >
      <NameField folder={folder} name={name} onChange={setName} />
    </FormDialog>
  );
}

function Move({
  folder,
  names,
  files,
  onClose,
  onChanged,
}: Common & { folder: string; names: readonly string[] }) {
  const [how, setHow] = useState<"rename" | "copy">("rename");
  const [target, setTarget] = useState(folder);
  const [only = ""] = names;
  return (
    <FormDialog
      title={names.length === 1 ? `Move or copy ${only}` : `Move or copy ${names.length} entries`}
      description="What is there already is never replaced."
      action={how === "copy" ? "Copy" : "Move"}
      isComplete={target.trim() !== "" && target.trim() !== folder}
      run={async () => {
        for (const name of names) {
          const [from, to] = [joinPath(folder, name), joinPath(target.trim(), name)];
          await files.ask({ do: how, from, to });
        }
        toast.done(`${plural(names.length, "entry", "entries")} in ${target.trim()}.`);
      }}
      onClose={onClose}
      onChanged={onChanged}
    >
      <Segmented
        label="How"
        value={how}
        onChange={setHow}
        options={[
          { value: "rename", label: "Move" },
          { value: "copy", label: "Copy" },
        ]}
      />
      <Field label="Into the folder">
        <Input
          value={target}
          autoComplete="off"
          spellCheck={false}
          className="font-mono"
          onChange={(event) => setTarget(event.target.value)}
        />
      </Field>
    </FormDialog>
  );
}

/** Of many that are to go, so many are named. */
const NAMED = 8;

function Delete({
  folder,
  entries,
  files,
  onClose,
  onChanged,
}: Common & { folder: string; entries: readonly Entry[] }) {
  const [first] = entries;
  const hasFolders = entries.some(({ kind }) => kind === "folder");
  const remove = useMutation({
    mutationFn: async () => {
      for (const { name, kind } of entries) {
        const path = joinPath(folder, name);
        await files.ask({ do: "delete", path, recursive: kind === "folder" });
      }
    },
    onSuccess: () => {
      toast.done(
        entries.length === 1 ? `${first?.name} is deleted.` : `${entries.length} are deleted.`,
      );
      onClose();
    },
    // Some may be gone although another could not be deleted.
    onSettled: onChanged,
  });
  return (
    <Confirm
      open
      onOpenChange={(open) => {
        if (!open) onClose();
      }}
      title={entries.length === 1 ? `Delete ${first?.name}?` : `Delete ${entries.length} entries?`}
      action="Delete"
      busy={remove.isPending}
      error={remove.error && errorMessage(remove.error)}
      onConfirm={() => remove.mutate()}
    >
      <p>
        {hasFolders ? "Folders go with all that is in them. " : ""}
        There is no bin to take it back from.
        {entries.some(({ kind }) => kind === "link") &&
          " Of a link only the link goes, not what it leads to."}
      </p>
      {entries.length > 1 && (
        <ul className="rounded-md bg-sunken px-3 py-2 font-mono text-sm">
          {entries.slice(0, NAMED).map(({ name }) => (
            <li key={name} className="truncate">
              {name}
            </li>
          ))}
          {entries.length > NAMED && <li>and {formatCount(entries.length - NAMED)} more</li>}
        </ul>
      )}
    </Confirm>
  );
}

const WHO = ["Owner", "Group", "Others"] as const;
const WHAT = ["read", "write", "execute"] as const;

function Permissions({
  entry,
  path,
  files,
  onClose,
  onChanged,
}: Common & { entry: Entry; path: string }) {
  const before = entry.mode ?? 0;
  const [mode, setMode] = useState(before);
  const [octal, setOctal] = useState(before.toString(8).padStart(4, "0"));
  const [owner, setOwner] = useState(entry.owner ?? "");
  const [group, setGroup] = useState(entry.group ?? "");
  const isOctal = /^[0-7]{1,4}$/.test(octal);
  const set = (next: number) => {
    setMode(next);
    setOctal(next.toString(8).padStart(4, "0"));
  };
  const newOwner = owner !== (entry.owner ?? "") && owner !== "" ? owner : undefined;
  const newGroup = group !== (entry.group ?? "") && group !== "" ? group : undefined;
  const isChanged = mode !== before || newOwner !== undefined || newGroup !== undefined;
  return (
    <FormDialog
      title={`Permissions of ${entry.name}`}
      action="Set"
      isComplete={isOctal && isChanged}
      run={async () => {
        // The owner first: with another owner the system takes some bits away.
        if (newOwner !== undefined || newGroup !== undefined) {
          await files.ask({
            ...{ do: "set_owner", path },
            ...(newOwner !== undefined && { owner: newOwner }),
            ...(newGroup !== undefined && { group: newGroup }),
          });
        }
        if (mode !== before || newOwner !== undefined) {
          await files.ask({ do: "set_mode", path, mode });
        }
      }}
      onClose={onClose}
      onChanged={onChanged}
    >
      <div className="grid gap-2">
        {WHO.map((who, row) => (
          <fieldset key={who} className="flex flex-wrap items-center gap-x-5 gap-y-1">
            <legend className="float-left w-20 text-base">{who}</legend>
            {WHAT.map((what, column) => {
              const bit = 0o400 >> (row * 3 + column);
              return (
                <Checkbox
                  key={what}
                  label={
                    <>
                      <span className="sr-only">{who} may </span>
                      {what}
                    </>
                  }
                  checked={(mode & bit) !== 0}
                  onCheckedChange={(isOn) => set(isOn ? mode | bit : mode & ~bit)}
                />
              );
            })}
          </fieldset>
        ))}
      </div>
      <div className="grid gap-4 sm:grid-cols-3">
        <Field
          label="As a number"
          hint={modeText(mode)}
          error={isOctal ? undefined : "One to four digits, 0 to 7."}
        >
          <Input
            value={octal}
            inputMode="numeric"
            className="font-mono"
            onChange={({ target }) => {
              setOctal(target.value);
              if (/^[0-7]{1,4}$/.test(target.value)) setMode(Number.parseInt(target.value, 8));
            }}
          />
        </Field>
        <Field label="Owner">
          <Input
            value={owner}
            autoComplete="off"
            onChange={({ target }) => setOwner(target.value)}
          />
        </Field>
        <Field label="Group">
          <Input
            value={group}
            autoComplete="off"
            onChange={({ target }) => setGroup(target.value)}
          />
        </Field>
      </div>
    </FormDialog>
  );
}

function Details({
  entry,
  path,
  onDownload,
  onClose,
}: {
  entry: Entry;
  path: string;
  onDownload: (entry: Entry) => void;
  onClose: () => void;
}) {
  return (
    <Dialog
      open
      onOpenChange={(open) => {
        if (!open) onClose();
      }}
      title={entry.name}
    >
      <Facts>
        <Fact label="Path" mono>
          {path}
        </Fact>
        {entry.target !== undefined && (
          <Fact label="Leads to" mono>
            {entry.target}
          </Fact>
        )}
        {entry.kind === "file" && (
          <Fact label="Size">
            {formatBytes(entry.size)} ({formatCount(entry.size)} bytes)
          </Fact>
        )}
        {entry.modified_ms !== undefined && (
          <Fact label="Changed">{formatDateTime(entry.modified_ms)}</Fact>
        )}
        {entry.mode !== undefined && (
          <Fact label="Permissions" mono>
            {modeText(entry.mode)} ({entry.mode.toString(8).padStart(4, "0")})
          </Fact>
        )}
        {entry.owner !== undefined && <Fact label="Owner">{entry.owner}</Fact>}
        {entry.group !== undefined && <Fact label="Group">{entry.group}</Fact>}
      </Facts>
      <DialogActions>
        {entry.kind !== "other" && (
          <Button
            onClick={() => {
              onClose();
              onDownload(entry);
            }}
          >
            {entry.kind === "folder" ? "Download as an archive" : "Download"}
          </Button>
        )}
        <Button variant="primary" onClick={onClose}>
          Close
        </Button>
      </DialogActions>
    </Dialog>
  );
}
