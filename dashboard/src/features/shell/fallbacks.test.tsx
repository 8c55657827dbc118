import { renderToStaticMarkup } from "react-dom/server";
import { describe, expect, it } from "vitest";
import { ObjectFallback } from "./fallbacks";

const shown = (query: { isPending: boolean; error: unknown }) =>
  renderToStaticMarkup(<ObjectFallback kind="Client" query={{ ...query, refetch: () => {} }} />);

describe("ObjectFallback", () => {
  it("says what is on its way, under a heading", () => {
    const html = shown({ isPending: true, error: null });
    expect(html).toMatch(/<h1[^>]*>Client<\/h1>/);
    expect(html).toContain('aria-label="Loading"');
    expect(html).not.toContain('role="alert"');
  });

  it("says that it could not be fetched, and offers another try", () => {
    const html = shown({ isPending: false, error: new Error("no") });
    expect(html).toMatch(/<h1[^>]*>Client<\/h1>/);
    expect(html).toContain('role="alert"');
    expect(html).toContain("Try again");
    expect(html).not.toContain('aria-label="Loading"');
  });
});
