import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

const target = process.env.GURURMM_SERVER ?? "http://127.0.0.1:3001";
// The server refuses requests whose origin is not its own.
const proxied = { target, changeOrigin: true, headers: { origin: new URL(target).origin } };

export default defineConfig({
  plugins: [react(), tailwindcss()],
  build: {
    // The server's policy allows no `data:` fonts or scripts, so every asset is a file of its own.
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 700,
  },
  server: {
    proxy: {
      "/api": { ...proxied, ws: true },
      "/install": proxied,
    },
  },
  test: {
    include: ["src/**/*.test.ts", "src/**/*.test.tsx"],
    environment: "node",
  },
});
