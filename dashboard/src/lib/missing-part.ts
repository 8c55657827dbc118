/** What Chromium, Firefox and Safari say of a part of the page that they cannot fetch, and what the page says of its styles. */
const SAID =
  /failed to fetch dynamically imported module|error loading dynamically imported module|importing a module script failed|unable to preload css/i;

/** Whether a part of the page itself could not be fetched: after an upgrade, the server has the parts of another page. */
export function isMissingPart(error: unknown): boolean {
  return error instanceof Error && SAID.test(error.message);
}
