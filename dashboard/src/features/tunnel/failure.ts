import { ApiError } from "../../lib/problem";
import type { ErrorCode } from "./wire";

const SENTENCES: Record<ErrorCode, string> = {
  not_allowed: "The policy does not allow this.",
  permission_denied: "The system does not permit this.",
  not_found: "It is not there.",
  already_exists: "Something of this name is there already.",
  conflict: "It was changed meanwhile.",
  not_a_folder: "This is not a folder.",
  is_a_folder: "This is a folder.",
  not_empty: "The folder is not empty.",
  no_space: "There is no room left on the machine.",
  too_large: "It is too large.",
  unsupported: "This system does not have it.",
  no_user_session: "Nobody is signed in at the machine.",
  invalid: "The machine cannot make sense of this.",
  checksum_mismatch: "What arrived is not what was sent.",
  too_many: "There are as many of these open as there may be.",
  unreachable: "Nobody answers there.",
  closed: "The session is over.",
  failed: "The machine could not do it.",
  other: "The machine could not do it.",
};

/** What a machine says of something that it could not do, as an error that any page can show. */
export function failure({ code, detail }: { code: ErrorCode; detail?: string }): ApiError {
  return new ApiError({ status: 409, code, detail: sentence(detail ?? "") || SENTENCES[code] });
}

/** `there is no such file` -> `There is no such file.` */
function sentence(text: string): string {
  const trimmed = text.trim();
  if (trimmed === "") return "";
  const first = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}
