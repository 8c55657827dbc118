import "./index.css";
import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { createQueryClient } from "./api/query";
import { applyTheme } from "./lib/theme";
import { createAppRouter } from "./routes/router";
import { Toaster } from "./ui/toast";
import { TooltipProvider } from "./ui/tooltip";

applyTheme();

const queryClient = createQueryClient(async () => {
  const { pathname, href } = router.state.location;
  if (pathname === "/sign-in") return;
  await router.navigate({ to: "/sign-in", search: { reason: "ended", next: href } });
  queryClient.clear();
});
const router = createAppRouter(queryClient);

const container = document.getElementById("root");
if (container) {
  createRoot(container).render(
    <StrictMode>
      <QueryClientProvider client={queryClient}>
        <TooltipProvider delayDuration={250}>
          <RouterProvider router={router} />
          <Toaster />
        </TooltipProvider>
      </QueryClientProvider>
    </StrictMode>,
  );
}
