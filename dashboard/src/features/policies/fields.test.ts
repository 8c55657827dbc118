import { describe, expect, it } from "vitest";
import { formatPolicyValue, sizeChoices, toDraft, toSettings } from "./fields";

describe("policy fields", () => {
  it("clears what is left empty and keeps types apart", () => {
    const draft = { ...toDraft({}), metrics_interval_seconds: " 45 ", process_list: "false" };
    expect(toSettings(draft)).toMatchObject({
      metrics_interval_seconds: 45,
      process_list: false,
      public_ip: null,
    });
  });

  it("comes back from the form as it went in", () => {
    const settings = {
      metrics_interval_seconds: 30,
      process_list: true,
      output_limit_bytes: 65536,
    };
    expect(toSettings(toDraft(settings))).toMatchObject(settings);
  });

  it("keeps a list with nothing in it apart from one that is inherited", () => {
    const settings = { tunnel_channels_tech: ["terminal", "files"], tunnel_forwards: [] };
    const draft = toDraft(settings);
    expect(draft.tunnel_channels_tech).toBe("terminal\nfiles");
    expect(toSettings(draft)).toMatchObject({ ...settings, tunnel_paths: null });
    const typed = { ...draft, tunnel_paths: " /srv \n\n/var/log\n" };
    expect(toSettings(typed).tunnel_paths).toEqual(["/srv", "/var/log"]);
    expect(formatPolicyValue("tunnel_forwards", [])).toBe("nothing");
    expect(formatPolicyValue("tunnel_idle_minutes", 15)).toBe("15 min");
  });

  it("offers a size that was set by other means", () => {
    expect(sizeChoices("100000")).toContain(100_000);
    expect(sizeChoices("")).not.toContain(0);
  });

  it("formats by what the name says", () => {
    expect(formatPolicyValue("metrics_interval_seconds", 90)).toBe("1 min 30 s");
    expect(formatPolicyValue("output_limit_bytes", 2 ** 20)).toBe("1.0 MiB");
    expect(formatPolicyValue("process_list", false)).toBe("Off");
    expect(formatPolicyValue("anything", null)).toBe("not set");
  });
});
