import { queryOptions } from "@tanstack/react-query";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";

export const overviewQuery = queryOptions({
  queryKey: keys.overview,
  queryFn: () => unwrap(api.GET("/api/v1/overview")),
});
