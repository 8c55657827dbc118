import { z } from "zod";

/** The server's rule; it also refuses well-known passwords and says so beside the field. */
export const MIN_PASSWORD_CHARS = 12;

export const newPassword = z
  .string()
  .min(MIN_PASSWORD_CHARS, `Use at least ${MIN_PASSWORD_CHARS} characters.`)
  .max(200, "Use at most 200 characters.");

/** Reads a secret from the address's fragment, which browsers never send to a server. */
export function fragmentToken(): string {
  return new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
}

export function forgetFragment() {
  history.replaceState(history.state, "", location.pathname + location.search);
}
