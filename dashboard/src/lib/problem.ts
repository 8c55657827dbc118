/** An answer of the server that is not a success, or no answer at all (`code` is `NETWORK`, `status` 0). */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly requestId: string | null;
  readonly fields: readonly { field: string; message: string }[];

  constructor(problem: {
    status: number;
    code: string;
    detail: string;
    requestId?: string | null;
    fields?: readonly { field: string; message: string }[];
  }) {
    super(problem.detail);
    this.name = "ApiError";
    this.status = problem.status;
    this.code = problem.code;
    this.requestId = problem.requestId ?? null;
    this.fields = problem.fields ?? [];
  }
}

/** The sentence to show a person for any thrown value. */
export function errorMessage(error: unknown): string {
  if (error instanceof ApiError) return error.message;
  return "Something went wrong in this page. Reload it and try again.";
}

export function isCode(error: unknown, code: string): boolean {
  return error instanceof ApiError && error.code === code;
}
