import { Fragment } from "react";
import type { Sample, Sensor } from "../../api/types";
import { plural } from "../../lib/format";
import { Status } from "../../ui/badge";
import { cn } from "../../ui/cn";
import { ScrollX } from "../../ui/scroll-x";
import { EmptyState } from "../../ui/states";
import { Table, Td, Th, Tr } from "../../ui/table";
import { byDevice, formatSensor, hasLimit, limits, SENSOR_STATES } from "./sensors";

/** What the sensors of a machine showed at one moment, or why there is nothing to show. */
export function Sensors({ sensors }: { sensors: Sample["sensors"] }) {
  if (sensors === null) {
    return (
      <EmptyState title="No sensors told of">
        The agent has not read them yet, or is of a version that does not.
      </EmptyState>
    );
  }
  if (sensors.readings.length > 0) {
    return <Readings readings={sensors.readings} omitted={sensors.omitted} />;
  }
  return sensors.unavailable !== null ? (
    <EmptyState title="Sensors cannot be read">{sensors.unavailable}</EmptyState>
  ) : (
    <EmptyState title="No sensors">
      This machine has no sensors that its system shows. Virtual machines seldom do.
    </EmptyState>
  );
}

function Readings({ readings, omitted }: { readings: readonly Sensor[]; omitted: number }) {
  return (
    <>
      <ScrollX label="Sensors">
        <Table>
          <thead>
            <tr>
              <Th>Sensor</Th>
              <Th className="text-right">Value</Th>
              <Th>State</Th>
              <Th className="max-sm:hidden">Limits</Th>
            </tr>
          </thead>
          <tbody>
            {byDevice(readings).map(([device, sensors]) => (
              <Fragment key={device}>
                <tr>
                  <th
                    colSpan={4}
                    scope="rowgroup"
                    className="border-b bg-sunken px-4 py-1.5 text-left font-medium text-ink-2 text-sm wrap-anywhere"
                  >
                    {device}
                  </th>
                </tr>
                {sensors.map((sensor) => (
                  <SensorRow key={`${sensor.kind}\u0000${sensor.name}`} sensor={sensor} />
                ))}
              </Fragment>
            ))}
          </tbody>
        </Table>
      </ScrollX>
      {omitted > 0 && (
        <p className="border-t px-4 py-3 text-ink-2 text-sm">
          {plural(omitted, "further sensor is", "further sensors are")} not sent.
        </p>
      )}
    </>
  );
}

function SensorRow({ sensor }: { sensor: Sensor }) {
  const { label, tone } = SENSOR_STATES[sensor.state];
  return (
    <Tr>
      <Td className="wrap-anywhere">{sensor.name}</Td>
      <Td
        className={cn(
          "whitespace-nowrap text-right",
          tone === "crit" && "font-medium text-crit",
          tone === "warn" && "font-medium text-warn",
        )}
      >
        {formatSensor(sensor.kind, sensor.value)}
      </Td>
      <Td className="whitespace-nowrap">
        {hasLimit(sensor) ? (
          <Status tone={tone}>{label}</Status>
        ) : (
          <span className="text-ink-3">no limit known</span>
        )}
      </Td>
      <Td className="text-ink-2 text-sm max-sm:hidden">{limits(sensor) || "–"}</Td>
    </Tr>
  );
}
