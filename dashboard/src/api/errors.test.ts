import { describe, expect, it } from "vitest";
import { ApiError, errorMessage } from "../lib/problem";
import { networkError, problemToError } from "./errors";

describe("problemToError", () => {
  it("keeps code, sentence, request id and field errors", () => {
    const error = problemToError(422, {
      type: "about:blank",
      title: "Invalid",
      status: 422,
      detail: "The name is taken.",
      code: "VALIDATION_FAILED",
      request_id: "r-1",
      errors: [{ field: "name", code: "TAKEN", message: "This name is taken." }],
    });
    expect(error).toMatchObject({
      status: 422,
      code: "VALIDATION_FAILED",
      message: "The name is taken.",
      requestId: "r-1",
      fields: [{ field: "name", message: "This name is taken." }],
    });
  });

  it("falls back to the title, then to the status", () => {
    expect(problemToError(409, { title: "Conflict" }).message).toBe("Conflict");
    expect(problemToError(502, "<html>Bad gateway</html>").message).toContain("502");
    expect(problemToError(502, undefined).code).toBe("HTTP_502");
  });

  it("survives a body of any shape", () => {
    for (const body of [null, 7, [], { errors: "no" }, { errors: [null, 3, { field: 1 }] }]) {
      expect(problemToError(500, body).fields).toEqual([]);
    }
  });
});

describe("errorMessage", () => {
  it("shows what the server said, and nothing of an internal error", () => {
    expect(errorMessage(new ApiError({ status: 400, code: "X", detail: "Said." }))).toBe("Said.");
    expect(errorMessage(new TypeError("undefined is not a function"))).not.toContain("undefined");
    expect(errorMessage(networkError())).toContain("cannot be reached");
  });
});
