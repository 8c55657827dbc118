import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startServer, stop, stopAgents } from "./stack";

export default async function globalSetup() {
  const folder = mkdtempSync(join(tmpdir(), "gururmm-e2e-"));
  // Started as root, the server runs PostgreSQL as another user, who must be able to reach its folder.
  chmodSync(folder, 0o755);
  const { child, url, link } = await startServer(folder);
  process.env.GURURMM_E2E_DIR = folder;
  process.env.GURURMM_E2E_URL = url;
  process.env.GURURMM_E2E_SETUP_LINK = link;
  return async () => {
    await stopAgents(folder);
    await stop(child);
    if (!process.env.GURURMM_E2E_KEEP) rmSync(folder, { recursive: true, force: true });
  };
}
