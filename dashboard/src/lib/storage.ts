/** Reads a small JSON preference. What a person's browser holds may be anything, so `check` decides. */
export function readPreference<T>(key: string, check: (value: unknown) => value is T): T | null {
  try {
    const text = localStorage.getItem(key);
    if (text === null) return null;
    const value: unknown = JSON.parse(text);
    return check(value) ? value : null;
  } catch {
    return null;
  }
}

export function writePreference(key: string, value: unknown) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // Without storage the preference lasts as long as the page.
  }
}
