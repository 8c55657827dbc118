import { z } from "zod";
import type { CommandRequest } from "../../api/types";

const seconds = (most: number) =>
  z
    .string()
    .trim()
    .regex(/^\d*$/, "Enter whole seconds.")
    .refine((text) => text === "" || (Number(text) >= 1 && Number(text) <= most), {
      message: `Between 1 and ${most} seconds.`,
    });

export const schema = z
  .object({
    command_type: z.enum(["shell", "powershell", "python", "script"]),
    command: z.string().refine((text) => text.trim() !== "", "Enter what to run."),
    interpreter: z.string().trim(),
    timeout_seconds: seconds(86_400),
    when_offline: z.enum(["", "queue", "refuse"]),
    expires_in_seconds: seconds(604_800),
    working_directory: z.string().trim(),
    environment: z
      .string()
      .refine(
        (text) => text.split("\n").every((line) => line.trim() === "" || /^[^=\s]+=/.test(line)),
        "One NAME=value per line.",
      ),
    stdin: z.string(),
    elevated: z.boolean(),
    user_session: z.boolean(),
  })
  .refine((values) => values.command_type !== "script" || values.interpreter !== "", {
    path: ["interpreter"],
    message: "Name the program that runs the script.",
  });

export type Values = z.infer<typeof schema>;

export const EMPTY: Values = {
  command_type: "shell",
  command: "",
  interpreter: "",
  timeout_seconds: "300",
  when_offline: "",
  expires_in_seconds: "",
  working_directory: "",
  environment: "",
  stdin: "",
  elevated: false,
  user_session: false,
};

/** What the form says, as the server wants it. */
export function toRequest(values: Values): CommandRequest {
  const environment = Object.fromEntries(
    values.environment
      .split("\n")
      .filter((line) => line.trim() !== "")
      .map((line) => {
        const at = line.indexOf("=");
        return [line.slice(0, at).trim(), line.slice(at + 1)];
      }),
  );
  return {
    command_type: values.command_type,
    command: values.command,
    context: values.user_session ? "user_session" : "system",
    elevated: values.elevated && !values.user_session,
    ...(values.command_type === "script" && { interpreter: values.interpreter }),
    ...(values.timeout_seconds !== "" && { timeout_seconds: Number(values.timeout_seconds) }),
    ...(values.when_offline !== "" && { when_offline: values.when_offline }),
    ...(values.expires_in_seconds !== "" && {
      expires_in_seconds: Number(values.expires_in_seconds),
    }),
    ...(values.working_directory !== "" && { working_directory: values.working_directory }),
    ...(Object.keys(environment).length > 0 && { environment }),
    ...(values.stdin !== "" && { stdin: values.stdin }),
  };
}
