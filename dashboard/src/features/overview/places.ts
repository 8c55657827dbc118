import type { TreeClient } from "../../api/types";

export interface Place {
  kind: "client" | "site";
  id: string;
  name: string;
  online: number;
  total: number;
}

/** Clients, those with the most absent machines first; of an only client its sites, which then say more. */
export function places(clients: readonly TreeClient[]): Place[] {
  const [only] = clients;
  const all: Place[] =
    clients.length === 1 && only
      ? only.sites.map((site) => ({
          kind: "site",
          id: site.id,
          name: site.name,
          online: site.agents_online,
          total: site.agents_total,
        }))
      : clients.map((client) => ({
          kind: "client",
          id: client.id,
          name: client.name,
          online: client.sites.reduce((sum, site) => sum + site.agents_online, 0),
          total: client.sites.reduce((sum, site) => sum + site.agents_total, 0),
        }));
  return all.sort(
    (a, b) =>
      b.total - b.online - (a.total - a.online) ||
      b.total - a.total ||
      a.name.localeCompare(b.name),
  );
}
