import { Button } from "./button";
import { ErrorState } from "./states";

/** The end of a list that has more pages. */
export function LoadMore({
  query,
}: {
  query: {
    hasNextPage: boolean;
    isFetchingNextPage: boolean;
    isFetchNextPageError: boolean;
    error: unknown;
    fetchNextPage: () => unknown;
  };
}) {
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
