import { describe, expect, it } from "vitest";
import { toDraft, toSettings } from "./fields";
import { formatWindow, parseWindow } from "./window";

const WINDOW = { days: ["sat", "sun"], from: "22:00", to: "05:00", time_zone: "Europe/Berlin" };

describe("maintenance windows", () => {
  it("come back from the form as they went in", () => {
    const settings = { update_window: WINDOW, update_channel: "beta", update_defer_hours: 0 };
    expect(toSettings(toDraft(settings))).toMatchObject(settings);
    expect(toSettings(toDraft({}))).toMatchObject({ update_window: null, update_channel: null });
  });

  it("are said in one line", () => {
    expect(formatWindow(WINDOW)).toBe("Sat, Sun 22:00 to 05:00 (Europe/Berlin)");
    expect(formatWindow({ ...WINDOW, time_zone: undefined })).toContain("(UTC)");
  });

  it("are nothing where the text is none", () => {
    expect(parseWindow("{")).toBeNull();
    expect(parseWindow('{"days": 3}')).toBeNull();
  });
});
