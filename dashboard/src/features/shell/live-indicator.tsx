import { useLiveStatus } from "../../api/live-react";
import { Status } from "../../ui/badge";
import { cn } from "../../ui/cn";
import { Tooltip } from "../../ui/tooltip";

/** Says calmly whether the page is up to date by itself; where room is short, only when it is not. */
export function LiveIndicator({ compact = false }: { compact?: boolean }) {
  const status = useLiveStatus();
  const lost = status === "lost" || status === "signed_out";
  const label = status === "live" ? "Live" : lost ? "Reconnecting" : "Connecting";
  if (compact && status === "live") return null;
  return (
    <>
      <span role="status" className="sr-only">
        {label}
      </span>
      <Tooltip
        content={
          status === "live"
            ? "Changes appear by themselves."
            : lost
              ? "The live link to the server is down. What you see may be a little old; it is fetched again as soon as the link is back."
              : "Opening the live link to the server."
        }
      >
        <button
          type="button"
          className={cn(
            "rounded-sm px-1.5 py-0.5 text-sm",
            lost ? "bg-warn-soft text-warn" : "text-ink-3",
          )}
        >
          <Status tone={status === "live" ? "ok" : lost ? "warn" : "idle"} pulse={lost}>
            {label}
          </Status>
        </button>
      </Tooltip>
    </>
  );
}
