import { useQuery } from "@tanstack/react-query";
import type { KeyOnce } from "../../api/types";
import { CopyBlock } from "../../ui/copy";
import { serverQuery } from "../tenancy/queries";

/** A freshly made key: the only moment its secret is on a screen. */
export function KeyReveal({
  keyOnce,
  siteCode,
  byHandOnly = false,
  replace = false,
}: {
  keyOnce: KeyOnce;
  siteCode: string;
  /** The commands stand elsewhere on the page. */
  byHandOnly?: boolean;
  /** The machine has a key, which is to be replaced. */
  replace?: boolean;
}) {
  const server = useQuery(serverQuery);
  const { linux } = keyOnce.install;
  const url = (server.data?.public_url ?? location.origin).replace(/\/$/, "");
  const pin = server.data?.ca_fingerprint ? ` --ca-fingerprint ${server.data.ca_fingerprint}` : "";
  const byHand = (
    <div className="grid gap-3">
      <CopyBlock
        label={`Enrollment key ${keyOnce.key.label}`}
        copyLabel="Copy key"
        text={keyOnce.secret}
      />
      <CopyBlock
        label="On the machine, with the key saved as enrollment.key"
        copyLabel="Copy command"
        text={`gururmm-agent enroll --server ${url} --site ${siteCode} --key-file enrollment.key${pin}${replace ? " --replace" : ""}`}
      />
    </div>
  );
  // Without an agent program to hand out, the server gives no install command.
  if (replace || (linux === null && !byHandOnly)) return byHand;
  return (
    <div className="grid gap-3">
      {linux !== null && !byHandOnly && (
        <CopyBlock label="Run this on a Linux machine" copyLabel="Copy command" text={linux} />
      )}
      <details className="text-base">
        <summary className="mb-2 w-fit rounded-sm text-ink-2 hover:text-ink">
          Enroll by hand, with the key in a file
        </summary>
        {byHand}
      </details>
    </div>
  );
}
