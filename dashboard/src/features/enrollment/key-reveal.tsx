import type { KeyOnce } from "../../api/types";
import { CopyBlock } from "../../ui/copy";

/** A freshly made key: the only moment its secret is on a screen. */
export function KeyReveal({ keyOnce, siteCode }: { keyOnce: KeyOnce; siteCode: string }) {
  return (
    <div className="grid gap-3">
      <CopyBlock
        label="Run this on a Linux machine, as root"
        copyLabel="Copy command"
        text={keyOnce.install.linux}
      />
      <details className="group text-base">
        <summary className="w-fit rounded-sm text-ink-2 hover:text-ink">
          Enroll by hand, with the key in a file
        </summary>
        <div className="mt-2 grid gap-3">
          <CopyBlock
            label={`Enrollment key ${keyOnce.key.label}`}
            copyLabel="Copy key"
            text={keyOnce.secret}
          />
          <CopyBlock
            label="On the machine, with the key saved as enrollment.key"
            copyLabel="Copy command"
            text={`gururmm-agent enroll --server ${location.origin} --site ${siteCode} --key-file enrollment.key`}
          />
        </div>
      </details>
    </div>
  );
}
