import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useCallback } from "react";
import { rowsOf } from "../../api/query";
import type { Recording } from "../../api/types";
import { SearchInput } from "../../ui/input";
import { PagedList } from "../../ui/paged-list";
import { Panel } from "../../ui/panel";
import { EmptyState } from "../../ui/states";
import { DateTime } from "../../ui/time";
import { useCan } from "../session/session";
import { PageHeader } from "../shell/page-header";
import { atTime } from "./replay/times";
import { SessionTable } from "./session-table";
import { recordingsQuery } from "./sessions-queries";

/** All sessions with machines that one may see, and what was typed in them. */
export function SessionsPage() {
  const { q } = useSearch({ from: "/app/sessions" });
  const canReplay = useCan("read_recordings");
  return (
    <>
      <PageHeader
        title="Sessions"
        documentTitle="Sessions"
        meta="Who is and who was on which machine. To open one, open the machine."
      />
      <div className="grid gap-5">
        {canReplay && <Typed text={q ?? ""} />}
        <Panel flush title="Open now">
          <SessionTable
            filter={{ status: "active" }}
            showAgent
            empty={<EmptyState title="Nobody is on a machine" />}
          />
        </Panel>
        <Panel flush title="Over">
          <SessionTable
            filter={{ status: "closed" }}
            showAgent
            empty={<EmptyState title="No session is over yet" />}
          />
        </Panel>
      </div>
    </>
  );
}

/** Finds sessions by what was typed in their terminals. */
function Typed({ text }: { text: string }) {
  const navigate = useNavigate({ from: "/sessions" });
  const search = useCallback(
    (q: string) => navigate({ search: { q: q.trim() || undefined }, replace: true }),
    [navigate],
  );
  return (
    <Panel
      flush
      title="What was typed"
      description="Words of lines that were entered in terminals, of all recorded sessions."
      actions={
        <SearchInput
          label="Search what was typed"
          placeholder="systemctl restart"
          value={text}
          onSearch={search}
          className="w-full sm:w-72"
        />
      }
    >
      {text && <Found text={text} />}
    </Panel>
  );
}

function Found({ text }: { text: string }) {
  const query = useInfiniteQuery(recordingsQuery({ q: text }));
  return (
    <PagedList
      query={query}
      skeletonRows={3}
      empty={<EmptyState title="Nobody typed this" className="py-8" />}
    >
      <ul>
        {rowsOf(query.data).map((recording) => (
          <FoundRow key={recording.session_id} recording={recording} />
        ))}
      </ul>
    </PagedList>
  );
}

function FoundRow({ recording }: { recording: Recording }) {
  const { session_id, hostname, tech_name, started_at, matches } = recording;
  return (
    <li className="grid gap-1 border-line border-b px-4 py-2.5 last:border-b-0">
      <p className="text-base">
        <Link
          to="/sessions/$sessionId"
          params={{ sessionId: session_id }}
          className="rounded-sm font-medium hover:underline"
        >
          {hostname}
        </Link>
        <span className="text-ink-2">
          , {tech_name}, <DateTime time={started_at} />
        </span>
      </p>
      <div className="grid gap-0.5">
        {matches.map(({ channel, at_ms, line }) => (
          <Link
            key={`${channel}-${at_ms}-${line}`}
            to="/sessions/$sessionId"
            params={{ sessionId: session_id }}
            search={{ channel, at: at_ms }}
            className="flex min-w-0 gap-3 rounded-sm px-1 font-mono text-sm hover:bg-hover"
          >
            <span className="shrink-0 text-ink-3">{atTime(at_ms)}</span>
            <span className="truncate">{line}</span>
          </Link>
        ))}
      </div>
    </li>
  );
}
