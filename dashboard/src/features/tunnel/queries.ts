import { useMutation } from "@tanstack/react-query";
import { api, unwrap } from "../../api/client";

/** Why a session is opened, where the machine's policy asks for it. */
export interface OpenReason {
  reason?: string;
  ticket?: string;
}

export const openSession = (agentId: string, why: OpenReason = {}) =>
  unwrap(api.POST("/api/v1/tunnel/open", { body: { agent_id: agentId, ...why } }));

export const closeSession = (sessionId: string) =>
  unwrap(api.POST("/api/v1/tunnel/close", { body: { session_id: sessionId } }));

export function useCloseSession(sessionId: string, onClosed: () => void) {
  return useMutation({ mutationFn: () => closeSession(sessionId), onSuccess: onClosed });
}
