import { defineConfig } from "@playwright/test";

// A port of its own, so that two runs can go side by side; the workers are told it.
process.env.GURURMM_PAGES_PORT ??= String(20_000 + (process.pid % 10_000));
const PORT = process.env.GURURMM_PAGES_PORT;

// The built dashboard with a stand-in for the server, so that pages can be in any state at once.
export default defineConfig({
  testDir: ".",
  outputDir: "../test-results/pages",
  fullyParallel: true,
  workers: "100%",
  forbidOnly: Boolean(process.env.CI),
  timeout: 120_000,
  expect: { timeout: 30_000 },
  reporter: [["list"]],
  use: {
    baseURL: `http://127.0.0.1:${PORT}`,
    locale: "en-GB",
    timezoneId: "UTC",
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: ["--no-sandbox"],
    },
  },
  projects: [
    { name: "pages", testIgnore: "shots.spec.ts" },
    { name: "shots", testMatch: "shots.spec.ts" },
  ],
  webServer: {
    command: `npx vite preview --port ${PORT} --strictPort --host 127.0.0.1`,
    cwd: "..",
    url: `http://127.0.0.1:${PORT}`,
    reuseExistingServer: false,
  },
});
