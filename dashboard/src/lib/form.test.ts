import type { UseFormReturn } from "react-hook-form";
import { describe, expect, it, vi } from "vitest";
import { applyProblem } from "./form";
import { ApiError } from "./problem";

function fakeForm(values: Record<string, unknown>) {
  const setError = vi.fn();
  const form = { getValues: () => values, setError } as unknown as UseFormReturn;
  return { form, setError };
}

const problem = (fields: { field: string; message: string }[]) =>
  new ApiError({
    status: 422,
    code: "VALIDATION_FAILED",
    detail: "Some fields are wrong.",
    fields,
  });

describe("applyProblem", () => {
  it("puts each message beside its field and focuses the first", () => {
    const { form, setError } = fakeForm({ name: "", email: "" });
    applyProblem(
      form,
      problem([
        { field: "email", message: "Taken." },
        { field: "name", message: "Too long." },
      ]),
    );
    expect(setError.mock.calls).toEqual([
      ["email", { type: "server", message: "Taken." }, { shouldFocus: true }],
      ["name", { type: "server", message: "Too long." }, { shouldFocus: false }],
    ]);
  });

  it("shows what belongs to no field of the form as the form's error", () => {
    const { form, setError } = fakeForm({ name: "" });
    applyProblem(form, problem([{ field: "setup_token", message: "The link has expired." }]));
    expect(setError).toHaveBeenCalledExactlyOnceWith("root", {
      type: "server",
      message: "The link has expired.",
    });
  });

  it("shows the sentence when there are no fields at all", () => {
    const { form, setError } = fakeForm({ name: "" });
    applyProblem(form, problem([]));
    expect(setError).toHaveBeenCalledExactlyOnceWith("root", {
      type: "server",
      message: "Some fields are wrong.",
    });
  });
});
