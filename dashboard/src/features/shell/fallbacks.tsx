import { type ErrorComponentProps, Link, useRouter } from "@tanstack/react-router";
import { ApiError } from "../../lib/problem";
import { Button } from "../../ui/button";
import { EmptyState, ErrorState, SkeletonRows } from "../../ui/states";
import { PageHeader } from "./page-header";

export function NotFoundPage() {
  return (
    <>
      <PageHeader title="Not found" documentTitle="Not found" />
      <EmptyState
        title="There is nothing here"
        action={
          <Button asChild>
            <Link to="/">Go to the overview</Link>
          </Button>
        }
      >
        It does not exist, was removed, or is not yours to see.
      </EmptyState>
    </>
  );
}

export function PageError({ error }: ErrorComponentProps) {
  const router = useRouter();
  return (
    <>
      <PageHeader title="Something went wrong" documentTitle="Error" />
      <ErrorState error={error} onRetry={() => router.invalidate()} />
    </>
  );
}

/** Stands for a page whose one object is still on its way, could not be fetched, or is not to be seen. */
export function ObjectFallback({
  kind,
  query,
}: {
  kind: string;
  query: { isPending: boolean; error: unknown; refetch: () => unknown };
}) {
  if (query.error instanceof ApiError && query.error.status === 404) return <NotFoundPage />;
  return (
    <>
      <PageHeader title={kind} documentTitle={kind} />
      {query.isPending ? (
        <SkeletonRows />
      ) : (
        <ErrorState error={query.error} onRetry={() => query.refetch()} />
      )}
    </>
  );
}
