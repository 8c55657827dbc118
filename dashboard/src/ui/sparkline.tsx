import { cn } from "./cn";

const WIDTH = 120;
const HEIGHT = 32;

/** The last values as a line over `slots` equal steps, newest at the right. Decorative: the figure stands beside it. */
export function Sparkline({
  values,
  max,
  slots,
  className,
}: {
  values: readonly number[];
  /** Top of the scale; the greatest value when left out. */
  max?: number;
  slots: number;
  className?: string;
}) {
  const shown = values.slice(-slots);
  const top = max ?? Math.max(1, ...shown);
  const step = WIDTH / (slots - 1);
  const start = WIDTH - (shown.length - 1) * step;
  const points = shown.map((value, index) => {
    const y = HEIGHT - 1 - (Math.min(top, Math.max(0, value)) / top) * (HEIGHT - 2);
    return `${(start + index * step).toFixed(1)},${y.toFixed(1)}`;
  });
  return (
    <svg
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      preserveAspectRatio="none"
      aria-hidden="true"
      className={cn("h-8 w-full", className)}
    >
      <line x1="0" x2={WIDTH} y1={HEIGHT - 0.5} y2={HEIGHT - 0.5} className="stroke-line" />
      {points.length > 1 && (
        <>
          <polygon
            points={`${start.toFixed(1)},${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}`}
            fill="currentColor"
            opacity="0.12"
          />
          <polyline
            points={points.join(" ")}
            fill="none"
            stroke="currentColor"
            strokeWidth="1.5"
            vectorEffect="non-scaling-stroke"
            strokeLinejoin="round"
          />
        </>
      )}
    </svg>
  );
}
