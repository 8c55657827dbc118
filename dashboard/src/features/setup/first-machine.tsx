import { Link } from "@tanstack/react-router";
import { useEffect, useRef } from "react";
import { LiveProvider } from "../../api/live-react";
import type { SetupResult } from "../../api/types";
import { Button } from "../../ui/button";
import { KeyReveal } from "../enrollment/key-reveal";
import { WaitingForMachine } from "../enrollment/waiting-for-machine";

export function FirstMachine({ result }: { result: SetupResult }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus(), []);
  return (
    <LiveProvider onSignedOut={() => location.assign("/sign-in")}>
      <div className="mt-8 grid gap-5">
        <div>
          <h1
            ref={heading}
            tabIndex={-1}
            className="mb-1 font-semibold text-2xl tracking-tight outline-none"
          >
            {result.partner.name} is ready
          </h1>
          <p className="max-w-prose text-base text-ink-2">
            Now bring in the first machine. The key below lets machines join {result.client.name},{" "}
            {result.site.name} (site code{" "}
            <span className="font-mono text-ink">{result.site.code}</span>). It is shown this once;
            a lost key is simply replaced by a new one.
          </p>
        </div>
        <KeyReveal keyOnce={result.enrollment_key} siteCode={result.site.code} />
        <WaitingForMachine siteId={result.site.id} />
        <div className="flex justify-end">
          <Button asChild variant="primary" size="lg">
            <Link to="/">Open the dashboard</Link>
          </Button>
        </div>
      </div>
    </LiveProvider>
  );
}
