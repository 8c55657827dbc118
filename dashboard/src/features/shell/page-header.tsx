import { Link, type LinkProps } from "@tanstack/react-router";
import { type ReactNode, useEffect } from "react";

export interface Crumb {
  label: string;
  link: LinkProps;
}

/** The top of a page: where one is, what it is, what can be done. Also names the browser's tab. */
export function PageHeader({
  title,
  crumbs = [],
  status,
  meta,
  actions,
  documentTitle,
}: {
  title: ReactNode;
  crumbs?: readonly Crumb[];
  /** Beside the title. */
  status?: ReactNode;
  /** Below the title. */
  meta?: ReactNode;
  actions?: ReactNode;
  documentTitle: string;
}) {
  useEffect(() => {
    document.title = `${documentTitle} - GuruRMM`;
  }, [documentTitle]);
  return (
    <header className="mb-5">
      {crumbs.length > 0 && (
        <nav aria-label="Breadcrumb" className="mb-1.5">
          <ol className="flex flex-wrap items-center gap-x-1.5 text-ink-3 text-sm">
            {crumbs.map((crumb, index) => (
              <li key={crumb.label} className="flex min-w-0 items-center gap-1.5">
                {index > 0 && <span aria-hidden>/</span>}
                <Link
                  {...crumb.link}
                  className="max-w-56 truncate rounded-sm hover:text-ink hover:underline"
                >
                  {crumb.label}
                </Link>
              </li>
            ))}
          </ol>
        </nav>
      )}
      <div className="flex flex-wrap items-start justify-between gap-x-6 gap-y-3">
        <div className="min-w-0">
          <div className="flex min-w-0 flex-wrap items-center gap-x-3.5 gap-y-1">
            <h1 className="min-w-0 font-semibold text-xl tracking-[-0.01em] wrap-anywhere">
              {title}
            </h1>
            {status}
          </div>
          {meta && <div className="mt-1 text-base text-ink-2">{meta}</div>}
        </div>
        {actions && <div className="flex flex-wrap items-center gap-2">{actions}</div>}
      </div>
    </header>
  );
}
