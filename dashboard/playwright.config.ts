import { defineConfig } from "@playwright/test";

// One server, one agent and one database for all: the tests run one after the other.
export default defineConfig({
  testDir: "e2e",
  outputDir: "test-results/e2e",
  globalSetup: "./e2e/global-setup.ts",
  workers: 1,
  fullyParallel: false,
  forbidOnly: Boolean(process.env.CI),
  // A busy machine may need a second try; what needed one is named at the end of ./dev test.
  retries: process.env.CI ? 2 : 0,
  timeout: 60_000,
  expect: { timeout: 15_000 },
  reporter: [["list"]],
  use: {
    locale: "en-GB",
    viewport: { width: 1440, height: 900 },
    trace: "retain-on-failure",
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: ["--no-sandbox"],
    },
  },
  projects: [
    { name: "setup", testMatch: "setup.spec.ts" },
    { name: "dashboard", testIgnore: "setup.spec.ts", dependencies: ["setup"] },
  ],
});
