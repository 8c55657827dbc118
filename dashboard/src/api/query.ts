import {
  keepPreviousData,
  MutationCache,
  QueryCache,
  QueryClient,
  type QueryKey,
} from "@tanstack/react-query";
import { ApiError } from "../lib/problem";
import { readCsrfTokenFrom } from "./client";
import { keys } from "./keys";
import type { SessionInfo } from "./types";

const MAX_RETRIES = 2;

/** `onSignedOut` runs when the server says that nobody is signed in any more. */
export function createQueryClient(onSignedOut: () => void): QueryClient {
  const watch = (error: Error) => {
    if (error instanceof ApiError && error.code === "UNAUTHENTICATED") onSignedOut();
  };
  const client = new QueryClient({
    queryCache: new QueryCache({
      onError: (error, query) => {
        // Whether anyone is signed in is what this query asks; its caller handles the answer.
        if (query.queryKey[0] !== keys.session[0] || query.state.data !== undefined) watch(error);
      },
    }),
    mutationCache: new MutationCache({ onError: watch }),
    defaultOptions: {
      queries: {
        networkMode: "always",
        staleTime: 20_000,
        retry: (failures, error) =>
          failures < MAX_RETRIES &&
          error instanceof ApiError &&
          (error.status === 0 || error.status >= 500),
      },
      mutations: { networkMode: "always" },
    },
  });
  readCsrfTokenFrom(() => client.getQueryData<SessionInfo>(keys.session)?.csrf_token);
  return client;
}

/** How a list is fetched page by page. */
export const byPages = {
  initialPageParam: undefined as string | undefined,
  getNextPageParam: (last: { next_cursor: string | null }) => last.next_cursor ?? undefined,
  placeholderData: keepPreviousData,
};

/** The rows of all pages that are here. */
export function rowsOf<T>(data: { pages: { items: T[] }[] } | undefined): T[] {
  return data?.pages.flatMap((page) => page.items) ?? [];
}

/** Marks queries stale at most once per `intervalMs`, however many invalidations arrive. */
export class Invalidator {
  private readonly pending = new Map<string, QueryKey>();
  private timer: ReturnType<typeof setTimeout> | null = null;
  private lastRun = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly invalidate: (key: QueryKey) => void,
    private readonly intervalMs: number,
    private readonly firstDelayMs = 100,
    private readonly now: () => number = () => performance.now(),
  ) {}

  add(keysToMark: readonly QueryKey[]) {
    for (const key of keysToMark) this.pending.set(JSON.stringify(key), key);
    if (this.timer !== null || this.pending.size === 0) return;
    const wait = Math.max(this.firstDelayMs, this.lastRun + this.intervalMs - this.now());
    this.timer = setTimeout(() => this.run(), wait);
  }

  cancel() {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    this.pending.clear();
  }

  private run() {
    this.timer = null;
    this.lastRun = this.now();
    const marked = [...this.pending.values()];
    this.pending.clear();
    for (const key of marked) this.invalidate(key);
  }
}
