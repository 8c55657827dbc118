import { useMutation, useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { formatBytes } from "../../../lib/format";
import { errorMessage, isCode } from "../../../lib/problem";
import { Button } from "../../../ui/button";
import { Confirm } from "../../../ui/confirm";
import { Dialog } from "../../../ui/dialog";
import { FormError } from "../../../ui/field";
import { ErrorState, SkeletonRows } from "../../../ui/states";
import { toast } from "../../../ui/toast";
import type { Files } from "../requests";
import { MAX_TEXT_BYTES } from "../wire";
import { makeEditor, type TextEditor } from "./codemirror";
import { nameOf } from "./paths";

/** A small file as text. What others changed meanwhile is not overwritten unseen. */
export function Editor({
  files,
  path,
  onClose,
  onDownload,
}: {
  files: Files;
  path: string;
  onClose: (isChanged: boolean) => void;
  onDownload: () => void;
}) {
  const [isDirty, setDirty] = useState(false);
  const [wasSaved, setSaved] = useState(false);
  const [asksToLeave, setAsksToLeave] = useState(false);
  const editor = useRef<TextEditor>(null);
  const version = useRef("");
  const query = useQuery({
    queryKey: ["text", path],
    queryFn: async () => {
      const answer = await files.ask({ do: "read_text", path });
      if (answer.is !== "text") throw new Error("another answer than was asked for");
      return answer;
    },
    gcTime: 0,
    staleTime: Number.POSITIVE_INFINITY,
    retry: false,
    refetchOnWindowFocus: false,
  });
  const save = useMutation({
    mutationFn: async ({ isForced }: { isForced: boolean }) => {
      const text = editor.current?.text() ?? "";
      if (isForced) {
        const now = await files.ask({ do: "read_text", path });
        if (now.is === "text") version.current = now.version;
      }
      const answer = await files.ask({ do: "write_text", path, text, version: version.current });
      if (answer.is === "text") {
        version.current = answer.version;
        return;
      }
      // The machine says that it is done; what the next change is compared with is asked for.
      const now = await files.ask({ do: "read_text", path });
      if (now.is === "text") version.current = now.version;
    },
    onSuccess: () => {
      setDirty(false);
      setSaved(true);
      toast.done(`${nameOf(path)} is saved.`);
    },
  });
  const isConflict = isCode(save.error, "conflict");
  const leave = () => (isDirty ? setAsksToLeave(true) : onClose(wasSaved));
  const text = query.data?.text;
  const mount = (host: HTMLDivElement | null) => {
    if (!host || text === undefined || editor.current) return;
    version.current = query.data?.version ?? "";
    editor.current = makeEditor(host, text, nameOf(path), {
      onChange: () => setDirty(true),
      onSave: () => save.mutate({ isForced: false }),
    });
  };
  useEffect(
    () => () => {
      editor.current?.destroy();
      editor.current = null;
    },
    [],
  );
  const reload = async () => {
    const { data } = await query.refetch();
    if (!data) return;
    version.current = data.version;
    editor.current?.setText(data.text);
    save.reset();
    setDirty(false);
  };
  return (
    <Dialog
      open
      onOpenChange={(open) => {
        if (!open) leave();
      }}
      title={nameOf(path)}
      description={<span className="font-mono text-sm">{path}</span>}
      className="max-w-5xl"
    >
      <div className="flex h-[calc(100dvh-8.5rem)] min-h-64 flex-col gap-3">
        {query.isPending && <SkeletonRows rows={6} />}
        {query.isError && (
          <>
            <ErrorState error={query.error} onRetry={() => query.refetch()} />
            <p className="text-center text-base text-ink-2">
              Text in UTF-8 of at most {formatBytes(MAX_TEXT_BYTES)} can be edited here.{" "}
              <Button size="sm" className="ml-1" onClick={onDownload}>
                Download it
              </Button>
            </p>
          </>
        )}
        {text !== undefined && (
          <div
            ref={mount}
            className="min-h-0 flex-1 overflow-hidden rounded-md border border-control focus-within:outline-2 focus-within:outline-accent"
          />
        )}
        {isConflict ? (
          <div
            role="alert"
            className="flex flex-wrap items-center justify-between gap-2 rounded-md border border-warn/40 bg-warn-soft px-3 py-2"
          >
            <p className="text-base text-warn">
              The file was changed at the machine since it was read.
            </p>
            <span className="flex gap-2">
              <Button size="sm" onClick={reload}>
                Take the machine's
              </Button>
              <Button
                size="sm"
                variant="dangerOutline"
                onClick={() => save.mutate({ isForced: true })}
              >
                Overwrite with this
              </Button>
            </span>
          </div>
        ) : (
          <FormError>{save.error && errorMessage(save.error)}</FormError>
        )}
        <div className="flex flex-wrap items-center justify-end gap-2">
          <span role="status" className="mr-auto text-ink-3 text-sm">
            {text !== undefined && (isDirty ? "Changed and not saved. " : "As at the machine. ")}
            Ctrl+S saves, Ctrl+M lets Tab leave the text.
          </span>
          <Button onClick={leave}>Close</Button>
          <Button
            variant="primary"
            busy={save.isPending}
            disabled={text === undefined || !isDirty}
            onClick={() => save.mutate({ isForced: false })}
          >
            Save
          </Button>
        </div>
      </div>
      <Confirm
        open={asksToLeave}
        onOpenChange={setAsksToLeave}
        title="Close without saving?"
        action="Discard the changes"
        onConfirm={() => onClose(wasSaved)}
      >
        <p>What you changed in {nameOf(path)} is lost.</p>
      </Confirm>
    </Dialog>
  );
}
