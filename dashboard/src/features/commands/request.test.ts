import { describe, expect, it } from "vitest";
import { EMPTY, toRequest } from "./request";

describe("toRequest", () => {
  it("leaves out what was left empty", () => {
    expect(toRequest({ ...EMPTY, command: "uptime", timeout_seconds: "" })).toEqual({
      command_type: "shell",
      command: "uptime",
      context: "system",
      elevated: false,
    });
  });

  it("reads the environment, values with equals signs included", () => {
    const { environment } = toRequest({
      ...EMPTY,
      command: "x",
      environment: "A=1\n\nURL=http://example.com/?q=2\nEMPTY=",
    });
    expect(environment).toEqual({ A: "1", URL: "http://example.com/?q=2", EMPTY: "" });
  });

  it("asks for no more than the user's rights in the user's session", () => {
    const values = { ...EMPTY, command: "x", elevated: true };
    expect(toRequest(values)).toMatchObject({ context: "system", elevated: true });
    expect(toRequest({ ...values, user_session: true })).toMatchObject({
      context: "user_session",
      elevated: false,
    });
  });

  it("sends the interpreter with a script only", () => {
    const values = { ...EMPTY, command: "x", interpreter: "/usr/bin/perl" };
    expect(toRequest(values).interpreter).toBeUndefined();
    expect(toRequest({ ...values, command_type: "script" }).interpreter).toBe("/usr/bin/perl");
  });
});
