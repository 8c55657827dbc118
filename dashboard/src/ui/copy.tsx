import { Check, Copy } from "lucide-react";
import { useEffect, useState } from "react";
import { Button, type ButtonProps } from "./button";

/** Clipboard access is refused on plain HTTP hosts, where selecting by hand still works. */
async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.style.position = "fixed";
    area.style.opacity = "0";
    (document.activeElement?.parentElement ?? document.body).append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }
}

export function CopyButton({
  text,
  label = "Copy",
  ...props
}: { text: string; label?: string } & Omit<ButtonProps, "onClick" | "children">) {
  const [state, setState] = useState<"idle" | "copied" | "failed">("idle");
  useEffect(() => {
    if (state === "idle") return;
    const timer = setTimeout(() => setState("idle"), 2_000);
    return () => clearTimeout(timer);
  }, [state]);
  return (
    <Button
      size="sm"
      onClick={async () => setState((await copyText(text)) ? "copied" : "failed")}
      {...props}
    >
      {state === "copied" ? <Check aria-hidden /> : <Copy aria-hidden />}
      <span aria-live="polite">
        {state === "copied" ? "Copied" : state === "failed" ? "Select and copy" : label}
      </span>
    </Button>
  );
}

/** A command or a secret to take along: shown in full, selected by one click, copied by the button. */
export function CopyBlock({
  text,
  label,
  copyLabel,
}: {
  text: string;
  label: string;
  copyLabel?: string;
}) {
  return (
    <div className="rounded-md border border-line bg-sunken">
      <div className="flex items-center justify-between gap-3 border-b px-3 py-1.5">
        <span className="text-ink-2 text-sm">{label}</span>
        <CopyButton text={text} label={copyLabel ?? "Copy"} variant="quiet" />
      </div>
      <pre className="select-all whitespace-pre-wrap px-3 py-2.5 font-mono text-sm wrap-anywhere">
        {text}
      </pre>
    </div>
  );
}
