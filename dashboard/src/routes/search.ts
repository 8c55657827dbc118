import { z } from "zod";

// What pages keep in the address. A value that is not understood is left out rather than an error.

const text = z.coerce.string().max(200).optional().catch(undefined);
const id = z.uuid().optional().catch(undefined);
const order = z.enum(["asc", "desc"]).optional().catch(undefined);
const time = z.iso.datetime().optional().catch(undefined);

export const signInSearch = z.object({
  next: text,
  reason: z.enum(["ended", "accepted", "left"]).optional().catch(undefined),
});

export const agentFilter = z.object({
  search: text,
  status: z.enum(["online", "offline", "pending", "retired"]).optional().catch(undefined),
  os_type: z.enum(["linux", "windows", "macos"]).optional().catch(undefined),
  machine_type: z.enum(["physical", "virtual_machine", "container"]).optional().catch(undefined),
  client_id: id,
  site_id: id,
  sort: z
    .enum([
      "hostname",
      "status",
      "last_seen",
      "os",
      "client",
      "site",
      "cpu",
      "memory",
      "disk",
      "asked_at",
    ])
    .optional()
    .catch(undefined),
  order,
});
export type AgentFilter = z.infer<typeof agentFilter>;

export const timeRange = z.object({ from: time, to: time, range: text });

export const commandFilter = z.object({
  status: z
    .enum([
      "queued",
      "sent",
      "running",
      "completed",
      "failed",
      "timeout",
      "cancelled",
      "interrupted",
      "expired",
    ])
    .optional()
    .catch(undefined),
  command: id,
});

/** Of the two at most one: what is read. */
export const agentLogSearch = z.object({ log: id, crash: id });
export type AgentLogSearch = z.infer<typeof agentLogSearch>;

export const alertFilter = z.object({
  status: z.enum(["open", "acknowledged", "resolved", "all"]).optional().catch(undefined),
  severity: z.enum(["info", "warning", "critical"]).optional().catch(undefined),
  agent_id: id,
  alert: id,
});

/** Which session with the machine, and what of it is shown. */
export const tunnelSearch = z.object({
  session: id,
  tab: text,
  /** Of the files; longer than any other text in an address. */
  path: z.string().max(4096).optional().catch(undefined),
  /** Of the registry. */
  key: z.string().max(4096).optional().catch(undefined),
});

export const sessionsSearch = z.object({ q: text });

/** Which terminal of a recording, and where in it, in milliseconds. */
export const replaySearch = z.object({
  channel: z.coerce.number().int().optional().catch(undefined),
  at: z.coerce.number().nonnegative().optional().catch(undefined),
});

export const placeSearch = z.object({ tab: z.enum(["policy"]).optional().catch(undefined) });

export const enrollmentSearch = z.object({ site_id: id });

export const usersSearch = z.object({ invite: z.boolean().optional().catch(undefined), user: id });

export const auditFilter = z.object({
  search: text,
  action: text,
  from: text,
  to: text,
});
