// What `./dev bench first-run` times in a browser: from pressing "Sign in" to live figures on an agent's page.
// Prints {"milliseconds": …}: the median of five, each in a fresh browser context.
import { chromium } from "@playwright/test";

const { BENCH_URL, BENCH_EMAIL, BENCH_PASSWORD, BENCH_AGENT } = process.env;
const RUNS = 5;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox"],
});
const times = [];
try {
  for (let run = 0; run < RUNS; run += 1) {
    const context = await browser.newContext({ locale: "en-GB" });
    const page = await context.newPage();
    await page.goto(`${BENCH_URL}/sign-in?next=${encodeURIComponent(`/agents/${BENCH_AGENT}`)}`);
    await page.getByLabel("Email").fill(BENCH_EMAIL);
    await page.getByLabel("Password", { exact: true }).fill(BENCH_PASSWORD);
    const started = performance.now();
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.waitForURL((url) => !url.pathname.startsWith("/sign-in"));
    await page.getByRole("button", { name: /^CPU/ }).filter({ hasText: /\d/ }).waitFor();
    times.push(performance.now() - started);
    await context.close();
  }
} finally {
  await browser.close();
}
times.sort((a, b) => a - b);
console.log(JSON.stringify({ milliseconds: times[Math.floor(RUNS / 2)] }));
