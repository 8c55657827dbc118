import { useQueryClient } from "@tanstack/react-query";
import {
  createContext,
  type ReactNode,
  useContext,
  useEffect,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";
import { api, unwrap } from "./client";
import { staleKeys } from "./keys";
import { LiveLink, type LiveStatus, type SubscriptionMessage, type Topic } from "./live";
import { Invalidator } from "./query";

const LiveContext = createContext<LiveLink | null>(null);
const REFETCH_INTERVAL_MS = 1_500;

function openSocket(ticket: string) {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  return new WebSocket(`${scheme}://${location.host}/api/v1/live`, [
    "gururmm.live.v1",
    `ticket.${ticket}`,
  ]);
}

export function LiveProvider({
  children,
  onSignedOut,
}: {
  children: ReactNode;
  onSignedOut: () => void;
}) {
  const queryClient = useQueryClient();
  const [invalidator] = useState(
    () =>
      new Invalidator(
        (queryKey) => queryClient.invalidateQueries({ queryKey }),
        REFETCH_INTERVAL_MS,
      ),
  );
  const [link] = useState(
    () =>
      new LiveLink(
        {
          ticket: async () => (await unwrap(api.POST("/api/v1/live/ticket"))).ticket,
          open: openSocket,
          setTimer: (run, delayMs) => window.setTimeout(run, delayMs),
          clearTimer: (timer) => window.clearTimeout(timer),
          random: Math.random,
        },
        {
          onInvalidate: ({ kind, id, agent_id }) =>
            invalidator.add(staleKeys(kind, id, agent_id) ?? []),
          onReconnect: () => queryClient.invalidateQueries(),
          onSignedOut,
        },
      ),
  );
  useEffect(() => {
    const retry = () => {
      if (document.visibilityState === "visible") link.retryNow();
    };
    link.start();
    addEventListener("online", retry);
    document.addEventListener("visibilitychange", retry);
    return () => {
      removeEventListener("online", retry);
      document.removeEventListener("visibilitychange", retry);
      invalidator.cancel();
      link.stop();
    };
  }, [link, invalidator]);
  return <LiveContext value={link}>{children}</LiveContext>;
}

function useLink(): LiveLink {
  const link = useContext(LiveContext);
  if (!link) throw new Error("LiveProvider is missing");
  return link;
}

export function useLiveStatus(): LiveStatus {
  const link = useLink();
  return useSyncExternalStore(link.onStatus, link.getStatus);
}

/**
 * Subscribes while the component is shown and `key` is not null; a new `key` is a new subscription.
 * `topic` is read at every (re)subscription.
 */
export function useLiveTopic(
  key: string | null,
  topic: () => Topic,
  onMessage: (message: SubscriptionMessage) => void,
) {
  const link = useLink();
  const latest = useRef({ topic, onMessage });
  useEffect(() => {
    latest.current = { topic, onMessage };
  });
  useEffect(() => {
    if (key === null) return;
    return link.subscribe(
      () => latest.current.topic(),
      (message) => latest.current.onMessage(message),
    );
  }, [link, key]);
}
