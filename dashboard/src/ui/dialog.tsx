import { X } from "lucide-react";
import { Dialog as Primitive } from "radix-ui";
import type { ReactNode } from "react";
import { cn } from "./cn";
import { useFocusReturn } from "./focus-return";

interface DialogProps {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  title: ReactNode;
  description?: ReactNode;
  children: ReactNode;
  className?: string;
}

/** What a dialog and a sheet share: the veil, the heading, the way out; focus returns to where it was. */
function Shell({
  open,
  onOpenChange,
  title,
  description,
  children,
  className,
  headerClass,
  bodyClass,
}: DialogProps & { headerClass: string; bodyClass: string }) {
  const focusReturn = useFocusReturn();
  return (
    <Primitive.Root open={open} onOpenChange={onOpenChange}>
      <Primitive.Portal>
        <Primitive.Overlay className="fixed inset-0 z-40 animate-overlay bg-black/45" />
        <Primitive.Content
          {...focusReturn}
          {...(!description && { "aria-describedby": undefined })}
          className={cn("fixed z-50 flex flex-col border-line bg-raised shadow-float", className)}
        >
          <header className={cn("flex items-start justify-between gap-4 px-5", headerClass)}>
            <div className="grid min-w-0 gap-1">
              <Primitive.Title className="font-semibold text-lg wrap-anywhere">
                {title}
              </Primitive.Title>
              {description && (
                <Primitive.Description asChild className="text-base text-ink-2">
                  <div>{description}</div>
                </Primitive.Description>
              )}
            </div>
            <Primitive.Close
              aria-label="Close"
              className="-mr-1 grid size-7 shrink-0 place-items-center rounded-md text-ink-3 hover:bg-hover hover:text-ink"
            >
              <X aria-hidden className="size-4" />
            </Primitive.Close>
          </header>
          <div className={cn("scroll-thin min-h-0 overflow-y-auto", bodyClass)}>{children}</div>
        </Primitive.Content>
      </Primitive.Portal>
    </Primitive.Root>
  );
}

export function Dialog({ className, ...props }: DialogProps) {
  return (
    <Shell
      {...props}
      headerClass="pt-4 pb-3"
      bodyClass="px-5 pb-5"
      className={cn(
        "top-1/2 left-1/2 max-h-[calc(100dvh-2rem)] w-[calc(100vw-2rem)] max-w-lg -translate-x-1/2 -translate-y-1/2 overflow-hidden rounded-lg border",
        className,
      )}
    />
  );
}

/** A panel from the right edge, for looking into something without leaving the page. */
export function Sheet({ className, ...props }: DialogProps) {
  return (
    <Shell
      {...props}
      headerClass="border-b py-4"
      bodyClass="flex-1"
      className={cn("inset-y-0 right-0 w-full max-w-2xl animate-sheet border-l", className)}
    />
  );
}

export function DialogActions({ children }: { children: ReactNode }) {
  return <div className="mt-5 flex flex-wrap justify-end gap-2">{children}</div>;
}
