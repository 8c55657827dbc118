import { Input, Select } from "../../ui/input";
import { type MaintenanceWindow, parseWindow, WEEKDAYS } from "./window";

const NEW: MaintenanceWindow = { days: ["sat", "sun"], from: "22:00", to: "05:00" };

/** Chooses a window, or none of its own. */
export function WindowField({
  inherit,
  disabled,
  value,
  onChange,
  ...field
}: {
  inherit: string;
  disabled: boolean;
  value: string;
  onChange: (value: string) => void;
}) {
  const window = parseWindow(value);
  const set = (change: Partial<MaintenanceWindow>) =>
    window && onChange(JSON.stringify({ ...window, ...change }));
  return (
    <div className="grid gap-2">
      <Select
        {...field}
        disabled={disabled}
        value={window ? "own" : ""}
        onChange={(event) => {
          const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
          onChange(event.target.value ? JSON.stringify({ ...NEW, time_zone: zone }) : "");
        }}
      >
        <option value="">{inherit}</option>
        <option value="own">Only within a window</option>
      </Select>
      {window && (
        <>
          <fieldset className="flex flex-wrap gap-x-3 gap-y-1" disabled={disabled}>
            <legend className="sr-only">Days on which it opens</legend>
            {WEEKDAYS.map((day) => (
              <label key={day} className="flex items-center gap-1.5 text-base capitalize">
                <input
                  type="checkbox"
                  className="size-4 accent-accent"
                  checked={window.days.includes(day)}
                  onChange={(event) =>
                    set({
                      days: WEEKDAYS.filter((other) =>
                        other === day ? event.target.checked : window.days.includes(other),
                      ),
                    })
                  }
                />
                {day}
              </label>
            ))}
          </fieldset>
          <div className="grid grid-cols-2 gap-2">
            <Input
              type="time"
              aria-label="From"
              disabled={disabled}
              value={window.from}
              onChange={(event) => set({ from: event.target.value })}
            />
            <Input
              type="time"
              aria-label="To"
              disabled={disabled}
              value={window.to}
              onChange={(event) => set({ to: event.target.value })}
            />
          </div>
          <Input
            aria-label="Time zone"
            placeholder="UTC"
            disabled={disabled}
            value={window.time_zone ?? ""}
            onChange={(event) => set({ time_zone: event.target.value || undefined })}
          />
        </>
      )}
    </div>
  );
}
