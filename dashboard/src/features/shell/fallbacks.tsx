import { type ErrorComponentProps, Link, useRouter } from "@tanstack/react-router";
import { isMissingPart } from "../../lib/missing-part";
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
  // The browser does not ask again for what it could not fetch once.
  if (isMissingPart(error)) return <NewerPage />;
  return (
    <>
      <PageHeader title="Something went wrong" documentTitle="Error" />
      <ErrorState error={error} onRetry={() => router.invalidate()} />
    </>
  );
}

function NewerPage() {
  return (
    <>
      <PageHeader title="Load this page again" documentTitle="Error" />
      <EmptyState
        title="A part of it could not be fetched"
        action={<Button onClick={() => window.location.reload()}>Load again</Button>}
      >
        The server may have been upgraded since it was opened. Shells that are open go on.
      </EmptyState>
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
