import type { Decision, Outcome, WaitingMachine } from "../../api/types";
import { isIdentityInQuestion } from "../agents/pending-reasons";
import { MOST_AT_ONCE } from "./queries";

export type Verdict = Decision["verdict"];

/** A decision about the machine as it is shown: another key that it was given meanwhile is not let in. */
export function decide({ agent }: WaitingMachine, verdict: Verdict): Decision {
  return { agent_id: agent.id, verdict, key_fingerprint: agent.key_fingerprint };
}

/** Which machines can be let in together: not those of which someone has to say which machine they are. */
export function approvable(machines: readonly WaitingMachine[]): WaitingMachine[] {
  return machines.filter(
    ({ agent }) => !isIdentityInQuestion(agent.pending_reason) && agent.key_changes === 0,
  );
}

/** At most as many as one request takes. */
export function together(machines: readonly WaitingMachine[], verdict: Verdict): Decision[] {
  return machines.slice(0, MOST_AT_ONCE).map((machine) => decide(machine, verdict));
}

/** What became of decisions, in sentences: how many were carried out, and what was in the way of each other one. */
export function summary(
  machines: readonly WaitingMachine[],
  outcomes: readonly Outcome[],
  verdict: Verdict,
): { done: string | null; problems: { id: string; text: string }[] } {
  const failed = outcomes.filter(({ problem }) => problem !== null);
  const done = outcomes.length - failed.length;
  const nameOf = (id: string) =>
    machines.find(({ agent }) => agent.id === id)?.agent.hostname ?? "A machine";
  const word = verdict === "reject" ? "turned away" : "let in";
  return {
    done: done === 0 ? null : `${done} ${done === 1 ? "machine was" : "machines were"} ${word}.`,
    problems: failed.map(({ agent_id, problem }) => ({
      id: agent_id,
      text: `${nameOf(agent_id)}: ${problem?.detail ?? ""}`,
    })),
  };
}
