import { createContext, useContext, useEffect, useState, useSyncExternalStore } from "react";
import { api, unwrap } from "../../api/client";
import { Tunnel, type TunnelFigures, type TunnelState } from "./session";
import type { ChannelKind } from "./wire";

export const TunnelContext = createContext<Tunnel | null>(null);

export function useTunnel(): Tunnel {
  const tunnel = useContext(TunnelContext);
  if (!tunnel) throw new Error("TunnelContext is missing");
  return tunnel;
}

export function useTunnelState(tunnel: Tunnel): TunnelState {
  return useSyncExternalStore(tunnel.onState, tunnel.getState);
}

export function useTunnelFigures(tunnel: Tunnel): TunnelFigures {
  return useSyncExternalStore(tunnel.onFigures, tunnel.getFigures);
}

/** A channel of requests, as long as the part of the page that asks is there. `open` is the same each time. */
export function useRequests<T extends { close: () => void }>(
  open: (tunnel: Tunnel) => T,
): T | null {
  const tunnel = useTunnel();
  const [requests, setRequests] = useState<T | null>(null);
  useEffect(() => {
    const made = open(tunnel);
    setRequests(made);
    return () => made.close();
  }, [tunnel, open]);
  return requests;
}

/** The link to an open session, as long as the page shows it. */
export function useSessionLink(sessionId: string): Tunnel {
  const [tunnel] = useState(() => new Tunnel(environment(sessionId)));
  useEffect(() => {
    const retry = () => {
      // Another window has it by choice; only a lost link is tried again unasked.
      if (document.visibilityState === "visible" && tunnel.getState().phase === "lost") {
        tunnel.retryNow();
      }
    };
    tunnel.start();
    addEventListener("online", retry);
    document.addEventListener("visibilitychange", retry);
    return () => {
      removeEventListener("online", retry);
      document.removeEventListener("visibilitychange", retry);
      tunnel.stop();
    };
  }, [tunnel]);
  return tunnel;
}

/** Why a kind of channel cannot be had here; null when it can. */
export function whyNot({ facts, ready }: TunnelState, kind: ChannelKind) {
  if (facts && !facts.channels.includes(kind)) return "forbidden";
  if (ready && !ready.kinds.includes(kind)) return "unsupported";
  return null;
}

function environment(sessionId: string) {
  const path = { session_id: sessionId };
  return {
    ticket: async () =>
      (await unwrap(api.POST("/api/v1/tunnel/{session_id}/ticket", { params: { path } }))).ticket,
    open: (ticket: string) => {
      const scheme = location.protocol === "https:" ? "wss" : "ws";
      const address = `${scheme}://${location.host}/api/v1/tunnel/${sessionId}/socket`;
      const socket = new WebSocket(address, ["gururmm.tunnel.v1", `ticket.${ticket}`]);
      socket.binaryType = "arraybuffer";
      return socket;
    },
    setTimer: (run: () => void, delayMs: number) => window.setTimeout(run, delayMs),
    clearTimer: (timer: number) => window.clearTimeout(timer),
    random: Math.random,
    now: () => performance.now(),
  };
}
