import { type FormEvent, useState } from "react";
import { Button } from "../../ui/button";
import { Field } from "../../ui/field";
import { Input } from "../../ui/input";
import { fromInput, type SpanErrors, spanErrors, toInput } from "./span";

/** Any span, to the minute, in this place's time. */
export function SpanForm({
  from,
  to,
  onShow,
}: {
  from: Date;
  to: Date;
  onShow: (from: string, to: string) => void;
}) {
  const [begin, setBegin] = useState(toInput(from));
  const [end, setEnd] = useState(toInput(to));
  const [errors, setErrors] = useState<SpanErrors>({});
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const wrong = spanErrors(begin, end);
    setErrors(wrong);
    const [start, stop] = [fromInput(begin), fromInput(end)];
    if (!wrong.from && !wrong.to && start && stop) onShow(start, stop);
  };
  return (
    <form
      aria-label="Span"
      noValidate
      onSubmit={submit}
      className="mb-4 grid items-start gap-3 border-line border-b pb-4 sm:grid-cols-[13rem_13rem_auto] sm:justify-start"
    >
      <Field label="From" error={errors.from}>
        <Input
          type="datetime-local"
          value={begin}
          onChange={(event) => setBegin(event.target.value)}
        />
      </Field>
      <Field label="To" error={errors.to}>
        <Input type="datetime-local" value={end} onChange={(event) => setEnd(event.target.value)} />
      </Field>
      <Button type="submit" className="h-9 sm:mt-5.5">
        Show
      </Button>
    </form>
  );
}
