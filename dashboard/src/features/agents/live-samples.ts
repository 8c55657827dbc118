import { queryOptions, useQuery, useQueryClient } from "@tanstack/react-query";
import { keys } from "../../api/keys";
import { useLiveTopic } from "../../api/live-react";
import type { Sample } from "../../api/types";
import { usePageVisible } from "../../lib/media";
import { sampleAt } from "./queries";
import { appendSample } from "./series";

const liveSamplesQuery = (id: string) =>
  queryOptions({
    queryKey: keys.agentSamples(id),
    queryFn: async ({ client }): Promise<readonly Sample[]> => {
      const newest = await sampleAt(id);
      const known = client.getQueryData<readonly Sample[]>(keys.agentSamples(id)) ?? [];
      return newest ? appendSample(known, newest) : known;
    },
    staleTime: Number.POSITIVE_INFINITY,
  });

/** The last minutes of a machine, growing every two seconds while it is looked at. */
export function useLiveSamples(agentId: string) {
  const queryClient = useQueryClient();
  // A machine measures often only while someone looks.
  const visible = usePageVisible();
  useLiveTopic(
    visible ? `metrics:${agentId}` : null,
    () => ({ kind: "agent_metrics", agent_id: agentId }),
    (message) => {
      if (message.type !== "metrics") return;
      queryClient.setQueryData<readonly Sample[]>(keys.agentSamples(agentId), (samples) =>
        appendSample(samples ?? [], message.sample),
      );
    },
  );
  return useQuery(liveSamplesQuery(agentId));
}
