/** What Chromium, Firefox and Safari say of a part of the page that they cannot fetch. */
const SAID =
  /failed to fetch dynamically imported module|error loading dynamically imported module|importing a module script failed/i;

/** Whether a part of the page itself could not be fetched: after an upgrade, the server has the parts of another page. */
export function isMissingPart(error: unknown): boolean {
  return error instanceof Error && SAID.test(error.message);
}
