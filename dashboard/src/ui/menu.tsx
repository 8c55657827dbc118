import { Check } from "lucide-react";
import { DropdownMenu as Primitive } from "radix-ui";
import type { ReactNode } from "react";
import { cn } from "./cn";

const item =
  "flex cursor-pointer select-none items-center gap-2 rounded-sm px-2 py-1.5 text-base outline-none data-[disabled]:cursor-not-allowed data-[highlighted]:bg-hover data-[disabled]:text-ink-3 [&_svg]:size-4 [&_svg]:text-ink-3";

export function Menu({
  trigger,
  children,
  align = "end",
  side,
  className,
}: {
  trigger: ReactNode;
  children: ReactNode;
  align?: "start" | "center" | "end";
  side?: "top" | "bottom";
  className?: string;
}) {
  return (
    <Primitive.Root modal={false}>
      <Primitive.Trigger asChild>{trigger}</Primitive.Trigger>
      <Primitive.Portal>
        <Primitive.Content
          align={align}
          side={side}
          sideOffset={5}
          collisionPadding={8}
          className={cn(
            "scroll-thin z-50 max-h-[70dvh] min-w-44 max-w-80 animate-pop overflow-y-auto rounded-md border border-line bg-raised p-1 shadow-float",
            className,
          )}
        >
          {children}
        </Primitive.Content>
      </Primitive.Portal>
    </Primitive.Root>
  );
}

export function MenuItem({
  children,
  onSelect,
  disabled,
  danger = false,
}: {
  children: ReactNode;
  onSelect: () => void;
  disabled?: boolean;
  danger?: boolean;
}) {
  return (
    <Primitive.Item
      onSelect={onSelect}
      disabled={disabled}
      className={cn(item, danger && "text-crit [&_svg]:text-crit")}
    >
      {children}
    </Primitive.Item>
  );
}

export function MenuLink({ children }: { children: ReactNode }) {
  return (
    <Primitive.Item asChild className={item}>
      {children}
    </Primitive.Item>
  );
}

export function MenuCheck({
  children,
  checked,
  onCheckedChange,
  disabled,
}: {
  children: ReactNode;
  checked: boolean;
  onCheckedChange: (checked: boolean) => void;
  disabled?: boolean;
}) {
  return (
    <Primitive.CheckboxItem
      checked={checked}
      disabled={disabled}
      onCheckedChange={onCheckedChange}
      // Several are chosen in one go.
      onSelect={(event) => event.preventDefault()}
      className={cn(item, "pl-7 relative")}
    >
      <Primitive.ItemIndicator className="absolute left-2">
        <Check aria-hidden />
      </Primitive.ItemIndicator>
      {children}
    </Primitive.CheckboxItem>
  );
}

export function MenuRadioGroup<T extends string>({
  value,
  onChange,
  options,
}: {
  value: T;
  onChange: (value: T) => void;
  options: readonly { value: T; label: string }[];
}) {
  return (
    <Primitive.RadioGroup value={value} onValueChange={(next) => onChange(next as T)}>
      {options.map((option) => (
        <Primitive.RadioItem
          key={option.value}
          value={option.value}
          className={cn(item, "relative pl-7")}
        >
          <Primitive.ItemIndicator className="absolute left-2">
            <Check aria-hidden />
          </Primitive.ItemIndicator>
          <span className="truncate">{option.label}</span>
        </Primitive.RadioItem>
      ))}
    </Primitive.RadioGroup>
  );
}

export function MenuLabel({ children }: { children: ReactNode }) {
  return (
    <Primitive.Label className="px-2 pt-1.5 pb-1 font-medium text-ink-3 text-sm">
      {children}
    </Primitive.Label>
  );
}

export function MenuSeparator() {
  return <Primitive.Separator className="my-1 h-px bg-line" />;
}
