// Stands in for the server, in whatever state the lists are wanted.
import type { Page, Route } from "@playwright/test";
import { answer } from "./answers";
import { agents, id, NOW } from "./fixtures";
import { playMachine, SESSION } from "./machine";
import { sampleOf } from "./samples";

export type State = "ordinary" | "loading" | "empty" | "error" | "many" | "first-day";

export interface Situation {
  state: State;
  /** Requests that are answered as ever. */
  steady?: RegExp;
  signedIn?: boolean;
}

type Fields = Record<string, unknown>;
interface Answer {
  status?: number;
  json?: unknown;
  body?: string;
}

export const ERROR_SENTENCE = "The server made a mistake.";
/** The most rows of a page of a list. */
export const PAGE_ROWS = 50;

const ERROR: Answer = {
  status: 500,
  json: { code: "INTERNAL", status: 500, detail: ERROR_SENTENCE, request_id: "r1" },
};
const NOT_FOUND: Answer = {
  status: 404,
  json: { code: "NOT_FOUND", status: 404, detail: "Not found." },
};

/** A machine whose policy asks why a session is opened. */
export const ASKS_WHY = agents[1]?.id;

/** No page stands without these, so they are there in every state. */
const ALWAYS = /\/(session|setup|invitations|live|ticket)\b/;

/** An answer with `keep` rows of each list. */
function few(path: string, json: Fields, keep: 0 | 1): Answer {
  if (path === "/api/v1/overview") {
    return {
      json: {
        ...json,
        agents: { total: keep, online: keep, offline: 0, pending: 0 },
        alerts: { open: 0, acknowledged: 0, critical: 0, warning: 0, info: 0 },
        clients_total: 1,
        sites_total: 1,
        commands: { running: 0, queued: 0, failed_24h: 0 },
        attention: [],
        recent_commands: [],
        os: keep ? [{ os_type: "linux", count: 1 }] : [],
      },
    };
  }
  if (keep === 0 && path.endsWith("/metrics/at")) return NOT_FOUND;
  const changed = { ...json };
  for (const list of ["items", "clients", "fields", "releases", "gaps"]) {
    if (Array.isArray(json[list])) changed[list] = json[list].slice(0, keep);
  }
  if (Array.isArray(json.points)) {
    changed.points = keep ? json.points.slice(-20) : [];
  }
  if ("items" in json) Object.assign(changed, { next_cursor: null, total: keep });
  if (keep === 0 && "network" in json) changed.network = null;
  return { json: changed };
}

/** Lists whose pages are full, and more of them than a person reads; machines are many as they are. */
function many(path: string, json: Fields, cursor: string | null): Answer {
  const { items, clients } = json;
  if (path !== "/api/v1/agents" && Array.isArray(items) && items.length > 0) {
    const rows = Array.from({ length: PAGE_ROWS }, (_, n) => ({
      ...items[n % items.length],
      id: id(cursor ? 33 : 32, n),
      ...("session_id" in items[0] && { session_id: id(cursor ? 33 : 32, n) }),
      // What is counted instead of named, from the newest on.
      ...("number" in items[0] && { number: (cursor ? 1 : 2) * PAGE_ROWS - n }),
    }));
    return {
      json: { items: rows, next_cursor: cursor ? null : String(PAGE_ROWS), total: 2 * PAGE_ROWS },
    };
  }
  if (Array.isArray(clients)) {
    return {
      json: {
        ...json,
        clients: Array.from({ length: 20 }, (_, n) => n).flatMap((n) =>
          clients.map((client: Fields, c) => (n === 0 ? client : { ...client, id: id(34 + n, c) })),
        ),
      },
    };
  }
  return { json };
}

function answerIn(
  { state, steady, signedIn }: Situation,
  method: string,
  url: URL,
  body: string,
): Answer | null {
  const path = url.pathname;
  if (signedIn === false && path === "/api/v1/session") {
    return { status: 401, json: { code: "UNAUTHENTICATED", status: 401 } };
  }
  if (path === "/api/v1/tunnel/open" && body.includes(`${ASKS_WHY}`) && !body.includes("reason")) {
    return { status: 422, json: { code: "REASON_REQUIRED", status: 422 } };
  }
  const json = answer(method, url);
  const usual: Answer =
    typeof json === "string"
      ? { body: json }
      : json === undefined
        ? NOT_FOUND
        : json === null
          ? { status: 204 }
          : { json };
  if (state === "ordinary" || ALWAYS.test(path) || steady?.test(path)) return usual;
  if (state === "loading") return null;
  if (state === "error") return ERROR;
  if (Array.isArray(json) && state !== "many") {
    return { json: json.slice(0, state === "empty" ? 0 : 1) };
  }
  if (!json || typeof json !== "object") return usual;
  const fields = json as Fields;
  return state === "many"
    ? many(path, fields, url.searchParams.get("cursor"))
    : few(path, fields, state === "empty" ? 0 : 1);
}

/**
 * Answers the page's requests, at a time that is always the same. The situation may change meanwhile; what is given back
 * then answers the requests that loading had left without an answer.
 */
export async function standIn(page: Page, situation: Situation) {
  const held: Route[] = [];
  const respond = async (route: Route) => {
    const request = route.request();
    const { method, url, body } = {
      ...{ method: request.method(), url: new URL(request.url()) },
      body: request.postData() ?? "",
    };
    const given = answerIn(situation, method, url, body);
    if (given) await route.fulfill(given);
    else held.push(route);
  };
  await page.clock.install({ time: NOW });
  await page.route("**/api/**", respond);
  await page.routeWebSocket("**/api/v1/live", (socket) => {
    socket.send(JSON.stringify({ type: "hello", server_time: new Date(NOW).toISOString() }));
    socket.onMessage((data) => {
      const message = JSON.parse(String(data));
      const lasting = situation.state === "ordinary" || situation.state === "first-day";
      if (message.topic?.kind !== "agent_metrics" || !lasting) return;
      for (let n = 1; n <= 60; n++) {
        socket.send(
          JSON.stringify({
            type: "metrics",
            sub: message.sub,
            agent_id: message.topic.agent_id,
            sample: sampleOf(message.topic.agent_id, NOW + n * 2000),
          }),
        );
      }
    });
  });
  const unanswered: (() => void)[] = [];
  await page.routeWebSocket("**/api/v1/tunnel/*/socket", (socket) => {
    const sessionId = socket.url().split("/").at(-2) ?? SESSION.ready;
    playMachine(socket, sessionId, situation, unanswered);
  });
  return async () => {
    for (const answer of unanswered.splice(0)) answer();
    await Promise.all(held.splice(0).map(respond));
  };
}
