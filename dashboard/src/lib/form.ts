import type { FieldValues, Path, UseFormReturn } from "react-hook-form";
import { ApiError, errorMessage } from "./problem";

/**
 * Puts the server's field errors beside their fields. What belongs to no field of this form becomes the
 * form's own error, so that nothing the server said is lost.
 */
export function applyProblem<T extends FieldValues>(form: UseFormReturn<T>, error: unknown) {
  const known = Object.keys(form.getValues());
  const rest: string[] = [];
  let placed = 0;
  if (error instanceof ApiError) {
    for (const { field, message } of error.fields) {
      if (known.includes(field)) {
        form.setError(field as Path<T>, { type: "server", message }, { shouldFocus: placed === 0 });
        placed += 1;
      } else {
        rest.push(message);
      }
    }
  }
  if (rest.length > 0 || placed === 0) {
    form.setError("root", {
      type: "server",
      message: rest.length > 0 ? rest.join(" ") : errorMessage(error),
    });
  }
}
