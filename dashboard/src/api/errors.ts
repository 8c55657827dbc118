import { ApiError } from "../lib/problem";
import type { Problem } from "./types";

/** Reads a problem+json body. A proxy in between may answer anything, so nothing about `body` is assumed. */
export function problemToError(status: number, body: unknown): ApiError {
  const problem = isRecord(body) ? (body as Partial<Problem>) : {};
  const errors = Array.isArray(problem.errors) ? problem.errors : [];
  const fields = errors.flatMap((entry: unknown) =>
    isRecord(entry) && typeof entry.field === "string" && typeof entry.message === "string"
      ? [{ field: entry.field, message: entry.message }]
      : [],
  );
  return new ApiError({
    status,
    code: typeof problem.code === "string" ? problem.code : `HTTP_${status}`,
    detail:
      firstText(problem.detail, problem.title) ?? `The server answered with status ${status}.`,
    requestId: typeof problem.request_id === "string" ? problem.request_id : null,
    fields,
  });
}

export function networkError(): ApiError {
  return new ApiError({
    status: 0,
    code: "NETWORK",
    detail: "The server cannot be reached. Check your connection and try again.",
  });
}

function firstText(...values: unknown[]): string | null {
  for (const value of values) if (typeof value === "string" && value.length > 0) return value;
  return null;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
