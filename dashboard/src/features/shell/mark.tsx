/** The product's mark: a trace on a screen. */
export function Mark({ className }: { className?: string }) {
  return (
    <svg viewBox="0 0 32 32" className={className} aria-hidden="true">
      <rect width="32" height="32" rx="7" className="fill-[#0d4a57]" />
      <path
        d="M6 18.5h5l3-9 4.5 14 3-8.5 1.4 3.5H26"
        fill="none"
        stroke="#d9f0ef"
        strokeWidth="2.4"
        strokeLinecap="round"
        strokeLinejoin="round"
      />
    </svg>
  );
}
