import { defineConfig } from "@playwright/test";

const PORT = 4179;

export default defineConfig({
  testDir: ".",
  testMatch: "shots.spec.ts",
  outputDir: "../test-results/shots-run",
  workers: 1,
  use: {
    baseURL: `http://127.0.0.1:${PORT}`,
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: ["--no-sandbox"],
    },
  },
  webServer: {
    command: `npx vite preview --port ${PORT} --strictPort --host 127.0.0.1`,
    cwd: "..",
    url: `http://127.0.0.1:${PORT}`,
    reuseExistingServer: false,
  },
});
