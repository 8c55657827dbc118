import createClient, { type Middleware } from "openapi-fetch";
import { ApiError } from "../lib/problem";
import { networkError, problemToError } from "./errors";
import type { paths } from "./schema";
import type { Sent } from "./types";

/** The typed client. Every path, query and body is checked against the server's OpenAPI document. */
export const api = createClient<paths>({ baseUrl: "" });

let csrfToken: () => string | undefined = () => undefined;

/** The CSRF token lives in the cached session; the query client tells us where to find it. */
export function readCsrfTokenFrom(source: () => string | undefined) {
  csrfToken = source;
}

const csrf: Middleware = {
  onRequest({ request }) {
    const token = csrfToken();
    if (token && request.method !== "GET") request.headers.set("X-CSRF-Token", token);
    return request;
  },
};
api.use(csrf);

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The body of a successful answer; anything else is thrown as `ApiError`. */
export async function unwrap<T>(call: Promise<Answer<T>>): Promise<Sent<T>> {
  let answer: Answer<T>;
  try {
    answer = await call;
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === "AbortError") throw cause;
    if (cause instanceof ApiError) throw cause;
    throw networkError();
  }
  if (!answer.response.ok) throw problemToError(answer.response.status, answer.error);
  return answer.data as Sent<T>;
}
