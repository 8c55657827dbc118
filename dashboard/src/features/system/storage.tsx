import type { SystemStatus } from "../../api/types";
import { formatBytes, formatCount, formatPercent } from "../../lib/format";
import { useNow } from "../../lib/now";
import { Panel } from "../../ui/panel";
import { Table, Td, Th, Tr } from "../../ui/table";
import { RelativeTime } from "../../ui/time";
import { historyWords, STORAGE_NAMES } from "./figures";

/** What the database's room on disk goes to. */
export function Storage({ status }: { status: SystemStatus }) {
  return (
    <Panel title="Database" description={`${formatBytes(status.database_bytes)} on disk`} flush>
      <Table>
        <thead>
          <tr>
            <Th>What is kept</Th>
            <Th className="text-right">Size</Th>
            <Th className="text-right">Share</Th>
          </tr>
        </thead>
        <tbody>
          {status.storage.map(({ kind, bytes }) => (
            <Tr key={kind}>
              <Td className="font-medium">{STORAGE_NAMES[kind] ?? kind}</Td>
              <Td className="whitespace-nowrap text-right">{formatBytes(bytes)}</Td>
              <Td className="w-32">
                <Bar share={status.database_bytes > 0 ? bytes / status.database_bytes : 0} />
              </Td>
            </Tr>
          ))}
        </tbody>
      </Table>
      <details className="border-line border-t">
        <summary className="cursor-pointer px-4 py-3 text-base focus-visible:-outline-offset-2">
          The largest tables
        </summary>
        <Table>
          <thead>
            <tr>
              <Th>Table</Th>
              <Th className="max-sm:hidden">Keeps</Th>
              <Th className="text-right">Size</Th>
            </tr>
          </thead>
          <tbody>
            {status.largest_tables.map(({ name, kind, bytes }) => (
              <Tr key={name}>
                <Td className="font-mono text-sm wrap-anywhere">{name}</Td>
                <Td className="text-ink-2 max-sm:hidden">{STORAGE_NAMES[kind] ?? kind}</Td>
                <Td className="whitespace-nowrap text-right">{formatBytes(bytes)}</Td>
              </Tr>
            ))}
          </tbody>
        </Table>
      </details>
    </Panel>
  );
}

function Bar({ share }: { share: number }) {
  const percent = Math.min(100, share * 100);
  return (
    <span className="flex items-center justify-end gap-2">
      <span aria-hidden className="h-1 w-10 overflow-hidden rounded-full bg-line">
        <span className="block h-full rounded-full bg-control" style={{ width: `${percent}%` }} />
      </span>
      <span className="w-12 whitespace-nowrap text-right">{formatPercent(percent, 0)}</span>
    </span>
  );
}

/** How long what was measured is kept, and whether the job that packs it keeps up. */
export function Retention({ status }: { status: SystemStatus }) {
  const now = useNow();
  const levels = status.retention[0]?.kept.map(({ level }) => level) ?? [];
  return (
    <Panel title="How long measurements are kept" flush>
      {status.retention.length === 0 ? (
        <p className="px-4 py-3 text-base text-ink-2">No partner has chosen yet.</p>
      ) : (
        <Table>
          <thead>
            <tr>
              <Th className="text-right">Partners</Th>
              {levels.map((level) => (
                <Th key={level} className="text-right">
                  {LEVEL_NAMES[level] ?? level}
                </Th>
              ))}
            </tr>
          </thead>
          <tbody>
            {status.retention.map(({ days, partners, kept }) => (
              <Tr key={days}>
                <Td className="text-right font-medium">{formatCount(partners)}</Td>
                {kept.map(({ level, days }) => (
                  <Td key={level} className="text-right">
                    {formatCount(days)} d
                  </Td>
                ))}
              </Tr>
            ))}
          </tbody>
        </Table>
      )}
      <p className="border-line border-t px-4 py-3 text-base text-ink-2">
        {historyWords(status.history, now)}
        {status.history.looked_at && (
          <>
            {" "}
            Looked at <RelativeTime time={status.history.looked_at} />.
          </>
        )}
      </p>
    </Panel>
  );
}

const LEVEL_NAMES: Record<string, string> = {
  samples: "Samples",
  five_minutes: "5 min",
  hours: "Hours",
  days: "Days",
};
