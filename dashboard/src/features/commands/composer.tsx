import { zodResolver } from "@hookform/resolvers/zod";
import { useQuery } from "@tanstack/react-query";
import { ChevronRight, Play } from "lucide-react";
import { useEffect, useState } from "react";
import { Controller, useForm } from "react-hook-form";
import type { Agent, Command } from "../../api/types";
import { applyProblem } from "../../lib/form";
import { Button } from "../../ui/button";
import { cn } from "../../ui/cn";
import { Field, FormError } from "../../ui/field";
import { Input, Select, Textarea } from "../../ui/input";
import { Kbd, Panel } from "../../ui/panel";
import { Checkbox } from "../../ui/toggle";
import { effectivePolicyQuery } from "../policies/queries";
import { useDenied } from "../session/session";
import { useRunCommand } from "./queries";
import { EMPTY, schema, toRequest, type Values } from "./request";

/** Where a command is written. `again` fills it with a former one. */
export function Composer({
  agent,
  again,
  onStarted,
}: {
  agent: Agent;
  again: Command | null;
  onStarted: (commandId: string) => void;
}) {
  const [open, setOpen] = useState(false);
  const denied = useDenied("run_commands");
  const form = useForm<Values>({
    resolver: zodResolver(schema),
    defaultValues: { ...EMPTY, command_type: agent.os_type === "windows" ? "powershell" : "shell" },
  });
  useEffect(() => {
    if (!again) return;
    form.reset({
      ...EMPTY,
      command_type: again.command_type,
      command: again.command,
      interpreter: again.interpreter ?? "",
      timeout_seconds: String(again.timeout_seconds),
      working_directory: again.working_directory ?? "",
      elevated: again.elevated,
      user_session: again.context === "user_session",
    });
    form.setFocus("command");
  }, [again, form]);
  const run = useRunCommand(agent.id, onStarted);
  const submit = form.handleSubmit((values) =>
    run.mutate(toRequest(values), {
      onError: (error) => {
        setOpen(true);
        applyProblem(form, error);
      },
    }),
  );
  const { errors } = form.formState;
  const type = form.watch("command_type");
  const inSession = form.watch("user_session");
  if (denied) {
    return (
      <Panel>
        <p className="text-base text-ink-2">You can read the history. {denied}</p>
      </Panel>
    );
  }
  return (
    <Panel title="Run a command">
      <form noValidate className="grid gap-4" onSubmit={submit}>
        <FormError>{errors.root?.message}</FormError>
        <div className="grid gap-4 sm:grid-cols-[11rem_minmax(0,1fr)]">
          <div className="grid content-start gap-4">
            <Field label="Type" error={errors.command_type?.message}>
              <Select {...form.register("command_type")}>
                <option value="shell">Shell</option>
                <option value="powershell">PowerShell</option>
                <option value="python">Python</option>
                <option value="script">Script</option>
              </Select>
            </Field>
            {type === "script" && (
              <Field label="Interpreter" error={errors.interpreter?.message}>
                <Input
                  placeholder="/usr/bin/perl"
                  autoComplete="off"
                  spellCheck={false}
                  className="font-mono"
                  {...form.register("interpreter")}
                />
              </Field>
            )}
          </div>
          <Field label={type === "script" ? "Script" : "Command"} error={errors.command?.message}>
            <Textarea
              rows={4}
              autoComplete="off"
              spellCheck={false}
              className="font-mono text-sm"
              onKeyDown={(event) => {
                if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void submit(event);
              }}
              {...form.register("command")}
            />
          </Field>
        </div>
        <div>
          <button
            type="button"
            aria-expanded={open}
            onClick={() => setOpen(!open)}
            className="-ml-1 flex items-center gap-1 rounded-sm px-1 text-base text-ink-2 hover:text-ink"
          >
            <ChevronRight
              aria-hidden
              className={cn("size-4 transition-transform", open && "rotate-90")}
            />
            Options
          </button>
          <div className={cn("mt-3 grid gap-4 sm:grid-cols-3", !open && "hidden")}>
            <Field
              label="Time limit in seconds"
              hint="It is stopped with all its children after that."
              error={errors.timeout_seconds?.message}
            >
              <Input inputMode="numeric" {...form.register("timeout_seconds")} />
            </Field>
            <Field label="While it is offline" error={errors.when_offline?.message}>
              <Select {...form.register("when_offline")}>
                <option value="">As policy says</option>
                <option value="queue">Wait for it</option>
                <option value="refuse">Do not run</option>
              </Select>
            </Field>
            <Field
              label="Give up after, in seconds"
              optional
              hint="Of waiting. As policy says without it."
              error={errors.expires_in_seconds?.message}
            >
              <Input inputMode="numeric" {...form.register("expires_in_seconds")} />
            </Field>
            <Field label="Working directory" optional error={errors.working_directory?.message}>
              <Input
                className="font-mono"
                spellCheck={false}
                {...form.register("working_directory")}
              />
            </Field>
            <Field
              label="Environment"
              optional
              hint="One NAME=value per line."
              error={errors.environment?.message}
            >
              <Textarea
                rows={2}
                spellCheck={false}
                className="font-mono text-sm"
                {...form.register("environment")}
              />
            </Field>
            <Field
              label="Standard input"
              optional
              className="sm:col-span-2"
              error={errors.stdin?.message}
            >
              <Textarea
                rows={2}
                spellCheck={false}
                className="font-mono text-sm"
                {...form.register("stdin")}
              />
            </Field>
            <Controller
              control={form.control}
              name="elevated"
              render={({ field }) => (
                <Checkbox
                  label="Elevated"
                  hint={
                    inSession
                      ? "Not in the user's session: there it has the user's rights."
                      : "With full administrator rights."
                  }
                  checked={field.value && !inSession}
                  disabled={inSession}
                  onCheckedChange={field.onChange}
                />
              )}
            />
            <Controller
              control={form.control}
              name="user_session"
              render={({ field }) => (
                <Checkbox
                  label="In the user's session"
                  hint="As the person who is signed in, on their desktop. Fails when nobody is."
                  checked={field.value}
                  onCheckedChange={field.onChange}
                />
              )}
            />
          </div>
        </div>
        <div className="flex flex-wrap items-center gap-3">
          <Button type="submit" variant="primary" busy={run.isPending}>
            <Play aria-hidden />
            {agent.is_connected ? "Run" : "Queue"}
          </Button>
          <span className="flex items-center gap-1 text-ink-3 text-sm max-sm:hidden">
            <Kbd>Ctrl</Kbd>
            <Kbd>Enter</Kbd>
          </span>
          {!agent.is_connected && (
            <WhatThen agentId={agent.id} chosen={form.watch("when_offline")} />
          )}
        </div>
      </form>
    </Panel>
  );
}

/** What becomes of a command for a machine that is offline. */
function WhatThen({ agentId, chosen }: { agentId: string; chosen: Values["when_offline"] }) {
  const policy = useQuery({ ...effectivePolicyQuery(agentId), enabled: chosen === "" });
  const said = policy.data?.fields.find((field) => field.name === "command_when_offline");
  const then = chosen === "" ? said?.value : chosen;
  return (
    <span className="text-base text-ink-2">
      {then === "refuse"
        ? "The machine is offline; this is not run."
        : "The machine is offline; it runs this when it is back."}
    </span>
  );
}
