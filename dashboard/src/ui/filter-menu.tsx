import { ListFilter } from "lucide-react";
import { Button } from "./button";
import { Menu, MenuLabel, MenuRadioGroup } from "./menu";

/** One of several values by which a list is narrowed; the empty value means any. */
export function FilterMenu<T extends string>({
  label,
  options,
  value,
  onChange,
}: {
  label: string;
  options: readonly { value: T; label: string }[];
  value: T;
  onChange: (value: T) => void;
}) {
  const chosen = options.find((option) => option.value === value);
  return (
    <Menu
      align="start"
      trigger={
        <Button size="sm" aria-label={`${label}: ${chosen?.label ?? "any"}`}>
          <ListFilter aria-hidden />
          <span className="max-w-40 truncate">{value === "" ? label : chosen?.label}</span>
        </Button>
      }
    >
      <MenuLabel>{label}</MenuLabel>
      <MenuRadioGroup value={value} onChange={onChange} options={options} />
    </Menu>
  );
}
