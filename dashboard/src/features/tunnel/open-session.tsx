import { useMutation } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { SquareTerminal } from "lucide-react";
import { useState } from "react";
import type { Agent } from "../../api/types";
import { errorMessage, isCode } from "../../lib/problem";
import { Button } from "../../ui/button";
import { Dialog, DialogActions } from "../../ui/dialog";
import { Field, FormError } from "../../ui/field";
import { Input, Textarea } from "../../ui/input";
import { toast } from "../../ui/toast";
import { useCan } from "../session/session";
import { type OpenReason, openSession } from "./queries";

/** The codes by which the server says that the machine's policy wants to know why. */
const ASKED = { reason: "REASON_REQUIRED", ticket: "TICKET_REQUIRED" } as const;

/** Opens a session with a machine, or goes on with the one that is open, and asks why where the policy does. */
export function OpenSession({ agent, primary = false }: { agent: Agent; primary?: boolean }) {
  const navigate = useNavigate();
  const can = useCan("use_tunnel");
  const [asked, setAsked] = useState<"reason" | "ticket" | null>(null);
  const open = useMutation({
    mutationFn: (why: OpenReason) => openSession(agent.id, why),
    onSuccess: ({ session_id }) => {
      setAsked(null);
      return navigate({
        to: "/agents/$agentId/session",
        params: { agentId: agent.id },
        search: { session: session_id },
      });
    },
    onError: (error) => {
      if (isCode(error, ASKED.reason)) setAsked("reason");
      else if (isCode(error, ASKED.ticket)) setAsked("ticket");
      else if (asked === null) toast.failed(error);
    },
  });
  const isActive = agent.status === "online" || agent.status === "offline";
  if (!can || !isActive) return null;
  return (
    <>
      <Button
        variant={primary ? "primary" : "outline"}
        busy={open.isPending && asked === null}
        onClick={() => open.mutate({})}
      >
        <SquareTerminal aria-hidden />
        Open session
      </Button>
      <Dialog
        open={asked !== null}
        onOpenChange={(next) => {
          if (!next) setAsked(null);
        }}
        title={`Open a session with ${agent.hostname}`}
        description="The policy of this machine asks why. It stands with the session's recording and in the audit log."
      >
        {asked && (
          <Why
            asked={asked}
            busy={open.isPending}
            error={
              open.error && !Object.values(ASKED).some((code) => isCode(open.error, code))
                ? errorMessage(open.error)
                : null
            }
            onOpen={open.mutate}
            onCancel={() => setAsked(null)}
          />
        )}
      </Dialog>
    </>
  );
}

function Why({
  asked,
  busy,
  error,
  onOpen,
  onCancel,
}: {
  asked: "reason" | "ticket";
  busy: boolean;
  error: string | null;
  onOpen: (why: OpenReason) => void;
  onCancel: () => void;
}) {
  const [reason, setReason] = useState("");
  const [ticket, setTicket] = useState("");
  const why = {
    ...(reason.trim() && { reason: reason.trim() }),
    ...(ticket.trim() && { ticket: ticket.trim() }),
  };
  const isComplete = asked === "ticket" ? why.ticket : why.reason || why.ticket;
  return (
    <form
      className="grid gap-4"
      onSubmit={(event) => {
        event.preventDefault();
        if (isComplete) onOpen(why);
      }}
    >
      <Field label="Ticket number" optional={asked === "reason"}>
        <Input
          value={ticket}
          maxLength={64}
          autoComplete="off"
          onChange={({ target }) => setTicket(target.value)}
        />
      </Field>
      <Field label="Reason" optional={asked === "ticket"}>
        <Textarea
          value={reason}
          maxLength={500}
          onChange={({ target }) => setReason(target.value)}
        />
      </Field>
      <FormError>{error}</FormError>
      <DialogActions>
        <Button onClick={onCancel}>Cancel</Button>
        <Button type="submit" variant="primary" busy={busy} disabled={!isComplete}>
          Open session
        </Button>
      </DialogActions>
    </form>
  );
}
