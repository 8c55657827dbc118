import type { InfiniteData, UseInfiniteQueryResult } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { Button } from "./button";
import { ErrorState, SkeletonRows } from "./states";

type PagedQuery = UseInfiniteQueryResult<InfiniteData<{ items: readonly unknown[] }>>;

/** A list that comes page by page: on its way, failed, without rows, or its rows and the way to more of them. */
export function PagedList({
  query,
  skeletonRows,
  empty,
  children,
}: {
  query: PagedQuery;
  skeletonRows?: number;
  empty: ReactNode;
  children: ReactNode;
}) {
  const some = query.data?.pages.some(({ items }) => items.length > 0);
  if (query.isPending) return <SkeletonRows rows={skeletonRows} />;
  if (query.isError && !some) {
    return <ErrorState error={query.error} onRetry={() => query.refetch()} />;
  }
  if (!some) return empty;
  return (
    <>
      {children}
      <More query={query} />
    </>
  );
}

function More({ query }: { query: PagedQuery }) {
  if (query.isFetchNextPageError) {
    return <ErrorState className="py-6" error={query.error} onRetry={query.fetchNextPage} />;
  }
  if (!query.hasNextPage) return null;
  return (
    <div className="flex justify-center p-3">
      <Button busy={query.isFetchingNextPage} onClick={() => query.fetchNextPage()}>
        Show more
      </Button>
    </div>
  );
}
