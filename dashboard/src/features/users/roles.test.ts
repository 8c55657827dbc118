import { describe, expect, it } from "vitest";
import { grantableRoles, mayManage } from "./roles";

describe("roles", () => {
  it("nobody grants more than she has", () => {
    expect(grantableRoles("owner", false)).toContain("owner");
    expect(grantableRoles("admin", false)).toEqual(["admin", "tech", "read_only"]);
    expect(grantableRoles(null, false)).toEqual([]);
    expect(grantableRoles(null, true)).toContain("owner");
  });

  it("nobody changes someone above her", () => {
    expect(mayManage("admin", "owner", false)).toBe(false);
    expect(mayManage("owner", "admin", false)).toBe(true);
  });
});
