import { defaultRangeExtractor, useVirtualizer } from "@tanstack/react-virtual";
import { ArrowDown, ArrowUp, ChevronDown, ChevronRight } from "lucide-react";
import {
  type KeyboardEvent,
  type MouseEvent,
  type ReactNode,
  useEffect,
  useRef,
  useState,
} from "react";
import { cn } from "./cn";

const HEAD_PX = 32;
const ROW_PX = 34;
const NARROW_ROW_PX = 50;
const PAGE_ROWS = 15;

export interface Column<T> {
  id: string;
  label: string;
  /** A track of the grid, as CSS has it. */
  width: string;
  isRight?: boolean;
  isSorted?: boolean;
  cell: (row: T) => ReactNode;
}

export interface Sort {
  by: string;
  isDescending: boolean;
}

/** Rows below rows: how deep one is, and whether those below it show; null when it has none. */
export interface Tree<T> {
  level: (row: T) => number;
  isExpanded: (row: T) => boolean | null;
  onExpand: (row: T, isExpanded: boolean) => void;
}

/**
 * Many rows, of which only those on the screen are drawn. One of them has the focus and the arrows move it; Enter opens it,
 * Space chooses it, a letter goes to the next that begins with it. What else can be done with a row, its menu does.
 */
export function Grid<T>({
  label,
  rows,
  rowKey,
  rowText,
  columns,
  isWide,
  sort,
  onSort,
  onOpen,
  onKey,
  chosen,
  onChoose,
  menu,
  tree,
  className,
}: {
  label: string;
  rows: readonly T[];
  rowKey: (row: T) => string;
  /** What a row is called. */
  rowText: (row: T) => string;
  columns: readonly Column<T>[];
  /** Rows that are narrow have a second line under the first. */
  isWide: boolean;
  sort?: Sort;
  onSort?: (sort: Sort) => void;
  onOpen?: (row: T) => void;
  /** A key on a row that the grid itself has no use for; true when it was used. */
  onKey?: (event: KeyboardEvent, row: T) => boolean;
  chosen?: ReadonlySet<string>;
  onChoose?: (chosen: ReadonlySet<string>) => void;
  menu?: (row: T, tabIndex: number) => ReactNode;
  tree?: Tree<T>;
  className?: string;
}) {
  const host = useRef<HTMLDivElement>(null);
  const [activeKey, setActiveKey] = useState<string | null>(null);
  const anchor = useRef<string | null>(null);
  const found = rows.findIndex((row) => rowKey(row) === activeKey);
  const active = Math.min(Math.max(found, 0), rows.length - 1);
  const rowPx = isWide ? ROW_PX : NARROW_ROW_PX;
  const virtualizer = useVirtualizer({
    count: rows.length,
    getScrollElement: () => host.current,
    estimateSize: () => rowPx,
    overscan: 12,
    scrollMargin: HEAD_PX,
    scrollPaddingStart: HEAD_PX,
    // The row with the focus stays, wherever the others are scrolled to.
    rangeExtractor: (range) => {
      const drawn = defaultRangeExtractor(range);
      return active < 0 || drawn.includes(active)
        ? drawn
        : [...drawn, active].sort((a, b) => a - b);
    },
    initialRect: { width: 800, height: 600 },
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: another height of the rows makes all places new
  useEffect(() => {
    virtualizer.measure();
  }, [rowPx, virtualizer]);
  const tracks = [
    ...(onChoose ? ["2rem"] : []),
    ...columns.map(({ width }) => width),
    ...(menu ? ["2.25rem"] : []),
  ].join(" ");

  const focusRow = (index: number) => {
    const row = rows[index];
    if (!row) return;
    setActiveKey(rowKey(row));
    virtualizer.scrollToIndex(index);
    requestAnimationFrame(() => {
      host.current?.querySelector<HTMLElement>(`[data-index="${index}"]`)?.focus();
    });
  };
  const toggle = (key: string) => {
    const next = new Set(chosen);
    if (!next.delete(key)) next.add(key);
    anchor.current = key;
    onChoose?.(next);
  };
  const chooseTo = (index: number) => {
    const from = rows.findIndex((row) => rowKey(row) === anchor.current);
    const [first, last] =
      from < 0 ? [index, index] : [Math.min(from, index), Math.max(from, index)];
    onChoose?.(new Set(rows.slice(first, last + 1).map(rowKey)));
  };
  const onKeyDown = (event: KeyboardEvent<HTMLDivElement>, row: T, index: number) => {
    // Of a button in the row, not of the row.
    if (event.target !== event.currentTarget) return;
    const isExpanded = tree?.isExpanded(row) ?? null;
    const move = (to: number) => {
      const next = Math.min(Math.max(to, 0), rows.length - 1);
      if (event.shiftKey && onChoose) {
        anchor.current ??= rowKey(row);
        chooseTo(next);
      }
      focusRow(next);
    };
    const { key, ctrlKey, metaKey, altKey } = event;
    if (onKey?.(event, row)) event.preventDefault();
    else if (altKey) return;
    else if (key === "ArrowDown") move(index + 1);
    else if (key === "ArrowUp") move(index - 1);
    else if (key === "PageDown") move(index + PAGE_ROWS);
    else if (key === "PageUp") move(index - PAGE_ROWS);
    else if (key === "Home") move(0);
    else if (key === "End") move(rows.length - 1);
    else if (key === "ArrowRight" && isExpanded === false) tree?.onExpand(row, true);
    else if (key === "ArrowLeft" && isExpanded) tree?.onExpand(row, false);
    else if (key === "Enter" && onOpen) onOpen(row);
    else if (key === " " && onChoose) toggle(rowKey(row));
    else if (key === "a" && (ctrlKey || metaKey) && onChoose) onChoose(new Set(rows.map(rowKey)));
    else if (key.length === 1 && key !== " " && !ctrlKey && !metaKey) {
      const begins = (at: number) => {
        const there = rows[at % rows.length];
        return there && rowText(there).toLowerCase().startsWith(key.toLowerCase());
      };
      for (let at = index + 1; at <= index + rows.length; at++) {
        if (begins(at)) return focusRow(at % rows.length);
      }
      return;
    } else return;
    event.preventDefault();
  };
  const onClick = (event: MouseEvent, row: T, index: number) => {
    setActiveKey(rowKey(row));
    if (!onChoose) return;
    if (event.shiftKey) chooseTo(index);
    else if (event.ctrlKey || event.metaKey) toggle(rowKey(row));
    else {
      anchor.current = rowKey(row);
      onChoose(new Set([rowKey(row)]));
    }
  };

  return (
    // biome-ignore lint/a11y/useAriaPropsSupportedByRole: either role has a name
    <div
      ref={host}
      role={tree ? "treegrid" : "grid"}
      aria-label={label}
      aria-rowcount={rows.length + 1}
      aria-multiselectable={onChoose ? true : undefined}
      className={cn("scroll-thin relative min-h-0 overflow-auto bg-surface", className)}
    >
      {/* biome-ignore lint/a11y/useSemanticElements: a table cannot leave out the rows that are not seen */}
      <div role="rowgroup" className="sticky top-0 z-10 border-b bg-surface">
        {/* biome-ignore lint/a11y: the row of the headings has no focus of its own */}
        <div
          role="row"
          aria-rowindex={1}
          className="grid items-center gap-x-3 px-3"
          style={{ gridTemplateColumns: tracks, height: HEAD_PX - 1 }}
        >
          {onChoose && (
            // biome-ignore lint/a11y: as above
            <div role="columnheader" className="grid">
              <input
                type="checkbox"
                aria-label="Choose all"
                checked={rows.length > 0 && chosen?.size === rows.length}
                onChange={({ target }) =>
                  onChoose(target.checked ? new Set(rows.map(rowKey)) : new Set())
                }
                className="size-4 accent-accent"
              />
            </div>
          )}
          {columns.map((column) => (
            <Head key={column.id} column={column} sort={sort} onSort={onSort} />
          ))}
          {menu && (
            // biome-ignore lint/a11y: as above
            <div role="columnheader">
              <span className="sr-only">Actions</span>
            </div>
          )}
        </div>
      </div>
      {/* biome-ignore lint/a11y/useSemanticElements: as above */}
      <div role="rowgroup" className="relative" style={{ height: virtualizer.getTotalSize() }}>
        {virtualizer.getVirtualItems().map(({ index, start }) => {
          const row = rows[index];
          if (!row) return null;
          const key = rowKey(row);
          const isActive = index === active;
          const isChosen = chosen?.has(key) ?? false;
          return (
            // biome-ignore lint/a11y: as above
            <div
              key={key}
              role="row"
              data-index={index}
              aria-rowindex={index + 2}
              aria-selected={onChoose ? isChosen : undefined}
              aria-level={tree ? tree.level(row) + 1 : undefined}
              aria-expanded={tree?.isExpanded(row) ?? undefined}
              tabIndex={isActive ? 0 : -1}
              onFocus={(event) => {
                if (event.target === event.currentTarget) setActiveKey(key);
              }}
              onKeyDown={(event) => onKeyDown(event, row, index)}
              onClick={(event) => onClick(event, row, index)}
              onDoubleClick={() => onOpen?.(row)}
              className={cn(
                "absolute inset-x-0 grid items-center gap-x-3 border-line border-b px-3 text-base hover:bg-hover focus-visible:-outline-offset-2",
                isChosen && "bg-accent-soft hover:bg-accent-soft",
              )}
              style={{ gridTemplateColumns: tracks, height: rowPx, top: start - HEAD_PX }}
            >
              {onChoose && (
                // biome-ignore lint/a11y: as above
                <div role="gridcell" className="grid">
                  <input
                    type="checkbox"
                    tabIndex={-1}
                    aria-label={`Choose ${rowText(row)}`}
                    checked={isChosen}
                    onClick={(event) => event.stopPropagation()}
                    onDoubleClick={(event) => event.stopPropagation()}
                    onChange={() => toggle(key)}
                    className="size-4 accent-accent"
                  />
                </div>
              )}
              {columns.map((column, at) => (
                // biome-ignore lint/a11y: as above
                <div
                  key={column.id}
                  role="gridcell"
                  className={cn("min-w-0", column.isRight && "text-right")}
                >
                  {at === 0 && tree ? (
                    <Branch tree={tree} row={row} name={rowText(row)}>
                      {column.cell(row)}
                    </Branch>
                  ) : (
                    column.cell(row)
                  )}
                </div>
              ))}
              {menu && (
                // biome-ignore lint/a11y: as above
                <div role="gridcell">{menu(row, isActive ? 0 : -1)}</div>
              )}
            </div>
          );
        })}
      </div>
    </div>
  );
}

function Head<T>({
  column: { id, label, isRight, isSorted },
  sort,
  onSort,
}: {
  column: Column<T>;
  sort: Sort | undefined;
  onSort: ((sort: Sort) => void) | undefined;
}) {
  const isBy = sort?.by === id;
  const Arrow = isBy && sort.isDescending ? ArrowDown : ArrowUp;
  return (
    // biome-ignore lint/a11y: a table cannot leave out the rows that are not seen
    <div
      role="columnheader"
      aria-sort={isBy ? (sort.isDescending ? "descending" : "ascending") : undefined}
      className={cn("min-w-0 truncate font-medium text-ink-2 text-sm", isRight && "text-right")}
    >
      {isSorted && onSort ? (
        <button
          type="button"
          onClick={() => onSort({ by: id, isDescending: isBy ? !sort.isDescending : false })}
          className={cn(
            "group inline-flex items-center gap-1 rounded-sm px-1 hover:text-ink focus-visible:-outline-offset-2",
            isRight ? "-mr-1" : "-ml-1",
            isBy && "text-ink",
          )}
        >
          {!isRight && label}
          <Arrow
            aria-hidden
            className={cn("size-3.5", !isBy && "opacity-0 group-hover:opacity-50")}
          />
          {isRight && label}
        </button>
      ) : (
        label
      )}
    </div>
  );
}

const MAX_INDENT_LEVELS = 12;

function Branch<T>({
  tree,
  row,
  name,
  children,
}: {
  tree: Tree<T>;
  row: T;
  name: string;
  children: ReactNode;
}) {
  const isExpanded = tree.isExpanded(row);
  const Chevron = isExpanded ? ChevronDown : ChevronRight;
  return (
    <div
      className="flex min-w-0 items-center gap-1"
      style={{ paddingLeft: `${Math.min(tree.level(row), MAX_INDENT_LEVELS) * 0.9}rem` }}
    >
      {isExpanded === null ? (
        <span className="w-5 shrink-0" />
      ) : (
        <button
          type="button"
          tabIndex={-1}
          aria-label={isExpanded ? `Fold ${name}` : `Unfold ${name}`}
          onClick={(event) => {
            event.stopPropagation();
            tree.onExpand(row, !isExpanded);
          }}
          onDoubleClick={(event) => event.stopPropagation()}
          className="grid size-5 shrink-0 place-items-center rounded-sm text-ink-3 hover:bg-hover hover:text-ink"
        >
          <Chevron aria-hidden className="size-4" />
        </button>
      )}
      <div className="min-w-0 flex-1">{children}</div>
    </div>
  );
}
