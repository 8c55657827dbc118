const REASONS: Record<string, string> = {
  approval_required: "Its site asks for approval before a machine may take part.",
  identity_in_use: "Another machine with the same hardware identity is online right now.",
  hardware_differs:
    "A machine with the same identity is known, but its board or disk is another one.",
  identity_shared: "Several known machines share its identity and hardware.",
  enrolled_elsewhere:
    "A machine with the same identity was enrolled at another site, and has never connected.",
  retired_before: "A machine with the same identity was retired.",
  key_copied:
    "It came with the key of another machine that is online. Once it is let in, it has to enroll for itself.",
  rejected_before: "It was rejected before, and has asked again.",
};

/** Why a machine waits for a decision, in a sentence. */
export function pendingReason(reason: string | null): string {
  return REASONS[reason ?? ""] ?? reason ?? "Someone must decide whether it may take part.";
}

/** Whether it is in question which machine it is, and not only whether it may take part. */
export function isIdentityInQuestion(reason: string | null): boolean {
  return [
    "identity_in_use",
    "hardware_differs",
    "identity_shared",
    "enrolled_elsewhere",
    "retired_before",
  ].includes(reason ?? "");
}
