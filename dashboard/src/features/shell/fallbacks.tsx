import { type ErrorComponentProps, Link, useRouter } from "@tanstack/react-router";
import { Button } from "../../ui/button";
import { EmptyState, ErrorState } from "../../ui/states";

export function NotFoundPage() {
  return (
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
  );
}

export function PageError({ error }: ErrorComponentProps) {
  const router = useRouter();
  return <ErrorState error={error} onRetry={() => router.invalidate()} />;
}
