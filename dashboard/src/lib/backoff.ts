/** Full-jitter exponential back-off: somewhere in the upper half of `base * 2^attempt`, never above `ceiling`. */
export function backoffMs(
  attempt: number,
  random: () => number = Math.random,
  base = 500,
  ceiling = 20_000,
): number {
  const limit = Math.min(ceiling, base * 2 ** Math.min(attempt, 16));
  return Math.round(limit / 2 + (limit / 2) * random());
}
