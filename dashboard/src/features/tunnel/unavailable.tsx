import { EmptyState } from "../../ui/states";
import type { ChannelKind } from "./wire";
import { KIND_NAMES } from "./words";

const SYSTEMS: Partial<Record<ChannelKind, string>> = {
  registry: "Only Windows has a registry.",
};

/** Stands for a kind of channel that cannot be had in this session. */
export function Unavailable({
  kind,
  reason,
}: {
  kind: ChannelKind;
  reason: "forbidden" | "unsupported";
}) {
  const isForbidden = reason === "forbidden";
  return (
    <EmptyState
      title={
        isForbidden
          ? `${KIND_NAMES[kind]}: not allowed here`
          : `${KIND_NAMES[kind]}: not on this machine`
      }
    >
      {isForbidden
        ? "The policy of this machine leaves it out of sessions."
        : (SYSTEMS[kind] ?? "Its system or its agent does not have it.")}
    </EmptyState>
  );
}
