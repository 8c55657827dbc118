import { zodResolver } from "@hookform/resolvers/zod";
import { useQuery } from "@tanstack/react-query";
import { Download } from "lucide-react";
import { type ReactNode, useState } from "react";
import { useForm } from "react-hook-form";
import { z } from "zod";
import type { KeyOnce, Package, ServerInfo, TreeSite } from "../../api/types";
import { applyProblem } from "../../lib/form";
import { formatBytes } from "../../lib/format";
import { Button } from "../../ui/button";
import { CopyBlock } from "../../ui/copy";
import { Field, FormError } from "../../ui/field";
import { Input, Select } from "../../ui/input";
import { Panel } from "../../ui/panel";
import { Segmented } from "../../ui/segmented";
import { ErrorState, SkeletonRows } from "../../ui/states";
import { useDenied } from "../session/session";
import { serverQuery } from "../tenancy/queries";
import { forProcessor, type Platform, packagesOf, recipes, whyMissing } from "./commands";
import { KeyReveal } from "./key-reveal";
import { useCreateToken, useDownloadInstaller } from "./queries";
import { WaitingForMachine } from "./waiting-for-machine";

const PLATFORMS = [
  { value: "windows", label: "Windows" },
  { value: "linux", label: "Linux" },
  { value: "macos", label: "macOS" },
] as const;

const limitsSchema = z.object({
  expires_in_hours: z.string(),
  max_uses: z
    .string()
    .trim()
    .regex(/^\d*$/, "Enter a whole number.")
    .refine((text) => text === "" || (Number(text) >= 1 && Number(text) <= 10_000), {
      message: "Between 1 and 10,000 machines.",
    }),
  label: z.string().trim().max(100, "Use at most 100 characters."),
});
type Limits = z.infer<typeof limitsSchema>;

const asked = ({ expires_in_hours, max_uses, label }: Limits) => ({
  ...(expires_in_hours !== "" && { expires_in_hours: Number(expires_in_hours) }),
  ...(max_uses !== "" && { max_uses: Number(max_uses) }),
  ...(label !== "" && { label }),
});

/** What was downloaded last: its token is in the list of keys below. */
interface Downloaded {
  name: string;
  keyId: string | null;
}

/** Brings machines into a site: a token with limits, what to do with it on each system, and who has come since. */
export function AddMachine({
  site,
  revealed,
  onRevealed,
}: {
  site: TreeSite;
  /** A key that was just made, here or by rotating. */
  revealed: KeyOnce | null;
  onRevealed: (once: KeyOnce | null) => void;
}) {
  const server = useQuery(serverQuery);
  const [chosen, setChosen] = useState<Platform | null>(null);
  const [downloaded, setDownloaded] = useState<Downloaded | null>(null);
  const form = useForm<Limits>({
    resolver: zodResolver(limitsSchema),
    defaultValues: { expires_in_hours: "24", max_uses: "1", label: "" },
  });
  const create = useCreateToken(site.id);
  const download = useDownloadInstaller(site.id);
  const denied = useDenied("manage_keys");
  const { errors } = form.formState;
  const makeCommand = form.handleSubmit((limits) =>
    create.mutate(asked(limits), {
      onSuccess: onRevealed,
      onError: (error) => applyProblem(form, error),
    }),
  );
  const fetchInstaller = (file: string) =>
    form.handleSubmit((limits) =>
      download.mutate(
        { file, ...asked(limits) },
        { onSuccess: setDownloaded, onError: (error) => applyProblem(form, error) },
      ),
    )();
  const platform = chosen ?? likeliest(server.data);
  const installers =
    server.data && platform !== "linux"
      ? packagesOf(server.data, platform === "windows" ? "msi" : "pkg")
      : [];
  return (
    <Panel
      title={`Add a machine to ${site.name}`}
      actions={
        <Segmented label="System" options={PLATFORMS} value={platform} onChange={setChosen} />
      }
    >
      <div className="grid gap-5">
        {server.isPending ? (
          <SkeletonRows rows={2} />
        ) : !server.data ? (
          <ErrorState error={server.error} onRetry={() => server.refetch()} />
        ) : revealed ? (
          <Revealed
            once={revealed}
            site={site}
            platform={platform}
            server={server.data}
            onAnother={() => onRevealed(null)}
          />
        ) : (
          <form noValidate className="grid gap-4" onSubmit={makeCommand}>
            <p className="max-w-prose text-base text-ink-2">
              Whoever installs needs a token. It ends by itself, lets in as many machines as you
              say, and is shown this once.
            </p>
            <FormError>{errors.root?.message}</FormError>
            <div className="grid max-w-3xl gap-4 sm:grid-cols-3">
              <Field label="Valid for" error={errors.expires_in_hours?.message}>
                <Select {...form.register("expires_in_hours")}>
                  <option value="1">1 hour</option>
                  <option value="24">1 day</option>
                  <option value="168">1 week</option>
                  <option value="720">30 days</option>
                  <option value="8760">1 year</option>
                </Select>
              </Field>
              <Field
                label="Machines"
                optional
                hint="How many it lets in. Empty: any number."
                error={errors.max_uses?.message}
              >
                <Input inputMode="numeric" {...form.register("max_uses")} />
              </Field>
              <Field label="Note" optional hint="What it is for." error={errors.label?.message}>
                <Input autoComplete="off" {...form.register("label")} />
              </Field>
            </div>
            <div className="flex flex-wrap gap-2">
              {installers.map((entry) => (
                <Button
                  key={entry.file}
                  variant="primary"
                  disabledReason={denied}
                  busy={download.isPending}
                  onClick={() => fetchInstaller(entry.file)}
                >
                  <Download aria-hidden />
                  Download the installer{forProcessor(entry, installers)}
                </Button>
              ))}
              <Button
                type="submit"
                variant={installers.length > 0 ? "outline" : "primary"}
                disabledReason={denied}
                busy={create.isPending}
              >
                {platform === "linux" ? "Make an install command" : "Make commands"}
              </Button>
            </div>
            <div aria-live="polite" className="grid gap-1 text-base text-ink-2">
              {installers.map((entry) => (
                <About key={entry.file} entry={entry} />
              ))}
              {downloaded && (
                <p className="text-ink wrap-anywhere">
                  {downloaded.name} is downloaded. Its name holds the token: leave it as it is, and
                  give it to nobody else. Every download has a token of its own.
                </p>
              )}
              <Missing platform={platform} server={server.data} />
            </div>
          </form>
        )}
        <WaitingForMachine siteId={site.id} />
      </div>
    </Panel>
  );
}

/** Where the server has something to hand out. */
function likeliest(server: ServerInfo | undefined): Platform {
  return !server || packagesOf(server, "msi").length > 0 || !server.agent_available
    ? "windows"
    : "linux";
}

function About({ entry }: { entry: Package }) {
  return (
    <p>
      {entry.file}, version {entry.version}, {formatBytes(entry.size)},{" "}
      {entry.signed ? "signed" : "not signed"}.
    </p>
  );
}

/** What the server does not have for a system, in its own words. */
function Missing({ platform, server }: { platform: Platform; server: ServerInfo }) {
  const kinds = { windows: ["msi"], linux: ["deb", "rpm"], macos: ["pkg"] } as const;
  const reasons = kinds[platform]
    .map((kind) => whyMissing(server, kind))
    .filter((reason) => reason !== null);
  if (platform === "linux" && !server.agent_available) {
    reasons.unshift(
      "this server has no agent program to hand out yet; machines that have the program can enroll by hand",
    );
  }
  return reasons.map((reason) => (
    <p key={reason} className="text-warn">
      {reason.charAt(0).toUpperCase() + reason.slice(1)}.
    </p>
  ));
}

function Revealed({
  once,
  site,
  platform,
  server,
  onAnother,
}: {
  once: KeyOnce;
  site: TreeSite;
  platform: Platform;
  server: ServerInfo;
  onAnother: () => void;
}) {
  const [first, ...others] = recipes(platform, once, server);
  return (
    <div className="grid gap-4">
      <p className="text-base text-ink-2">
        Key <strong className="font-mono font-medium text-ink">{once.key.label}</strong> is shown
        this once. Copy what you need before you leave the page.{" "}
        <button
          type="button"
          onClick={onAnother}
          className="rounded-sm text-accent underline hover:no-underline"
        >
          Make another
        </button>
      </p>
      <Missing platform={platform} server={server} />
      {first && (
        <Step recipe={first}>
          <CopyBlock label={first.label} copyLabel={first.copyLabel} text={first.text} />
        </Step>
      )}
      {others.map((recipe) => (
        <details key={recipe.label} className="text-base">
          <summary className="mb-2 w-fit rounded-sm text-ink-2 hover:text-ink">
            {recipe.label}
          </summary>
          <Step recipe={recipe}>
            <CopyBlock label={recipe.label} copyLabel={recipe.copyLabel} text={recipe.text} />
          </Step>
        </details>
      ))}
      <KeyReveal keyOnce={once} siteCode={site.code} byHandOnly />
    </div>
  );
}

function Step({ recipe, children }: { recipe: { hint?: string }; children: ReactNode }) {
  return (
    <div className="grid gap-1.5">
      {children}
      {recipe.hint && <p className="text-ink-3 text-sm">{recipe.hint}</p>}
    </div>
  );
}
