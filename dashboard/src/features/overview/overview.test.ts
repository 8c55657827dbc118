import { describe, expect, it } from "vitest";
import type { Overview, TreeClient } from "../../api/types";
import { places } from "./places";
import { firstSteps } from "./steps";

const client = (name: string, ...sites: [online: number, total: number][]): TreeClient => ({
  id: name,
  name,
  sites: sites.map(([agents_online, agents_total], n) => ({
    id: `${name}${n}`,
    name: `Site ${n}`,
    code: "",
    agents_online,
    agents_total,
  })),
});
const names = (clients: TreeClient[]) => places(clients).map(({ name }) => name);

describe("places", () => {
  it("puts the client with the most absent machines first, then the larger one", () => {
    expect(
      names([client("Well", [3, 3]), client("Large", [9, 9]), client("Absent", [1, 2], [0, 1])]),
    ).toEqual(["Absent", "Large", "Well"]);
  });

  it("adds up a client's sites", () => {
    expect(places([client("A", [1, 2], [3, 5]), client("B")])[0]).toMatchObject({
      online: 4,
      total: 7,
    });
  });

  it("shows the sites of an only client", () => {
    expect(places([client("Only", [1, 1], [0, 1])]).map(({ kind, name }) => [kind, name])).toEqual([
      ["site", "Site 1"],
      ["site", "Site 0"],
    ]);
  });

  it("is empty without clients", () => {
    expect(places([])).toEqual([]);
  });
});

describe("firstSteps", () => {
  const overview = (change: object) =>
    ({
      agents: { total: 0 },
      recent_commands: [],
      clients_total: 1,
      ...change,
    }) as unknown as Overview;
  const done = (change: object, users: number | null) =>
    firstSteps(overview(change), users)
      .filter((step) => step.done)
      .map(({ id }) => id);

  it("is all to do at first", () => {
    expect(done({}, 1)).toEqual([]);
  });

  it("ticks what has been done", () => {
    expect(done({ agents: { total: 1 }, recent_commands: [{}] }, 1)).toEqual([
      "machine",
      "command",
    ]);
    expect(done({ clients_total: 2 }, 2)).toEqual(["colleague", "client"]);
  });

  it("does not ask for colleagues from those who cannot see them", () => {
    expect(firstSteps(overview({}), null).map(({ id }) => id)).not.toContain("colleague");
  });
});
