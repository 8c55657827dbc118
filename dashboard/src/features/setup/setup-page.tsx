import { zodResolver } from "@hookform/resolvers/zod";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useForm } from "react-hook-form";
import { z } from "zod";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import type { SetupResult } from "../../api/types";
import { applyProblem } from "../../lib/form";
import { ApiError } from "../../lib/problem";
import { Button } from "../../ui/button";
import { Field, FormError } from "../../ui/field";
import { Input } from "../../ui/input";
import { EmptyState, ErrorState, Skeleton } from "../../ui/states";
import { Steps } from "../../ui/steps";
import {
  forgetFragment,
  fragmentToken,
  MIN_PASSWORD_CHARS,
  newPassword,
} from "../session/passwords";
import { PublicPage } from "../session/public-page";
import { FirstMachine } from "./first-machine";

const STEPS = ["Your account", "Your organisation", "First machine"] as const;

export function SetupPage() {
  const [token] = useState(fragmentToken);
  const [result, setResult] = useState<SetupResult | null>(null);
  const check = useQuery({
    queryKey: ["setup", token],
    // The answer has no body, and a query must yield something.
    queryFn: async () => {
      await unwrap(api.POST("/api/v1/setup/check", { body: { setup_token: token } }));
      return true;
    },
    enabled: token !== "" && result === null,
    retry: false,
    staleTime: Number.POSITIVE_INFINITY,
  });
  if (result) {
    return (
      <PublicPage wide>
        <Steps steps={STEPS} current={2} />
        <FirstMachine result={result} />
      </PublicPage>
    );
  }
  const refused =
    token === "" ||
    (check.error instanceof ApiError && [401, 404, 422].includes(check.error.status));
  return (
    <PublicPage wide>
      {refused ? (
        <EmptyState title="This setup link cannot be used" className="px-0 text-left">
          The link is printed when the server starts, works once, and expires. Look at the server's
          output for the current one; after setup there is none.
        </EmptyState>
      ) : check.isPending ? (
        <div role="status" aria-label="Loading" className="grid gap-4">
          <Skeleton className="h-6" />
          <Skeleton className="h-40" />
        </div>
      ) : check.isError ? (
        <ErrorState error={check.error} onRetry={() => check.refetch()} />
      ) : (
        <SetupForm token={token} onDone={setResult} />
      )}
    </PublicPage>
  );
}

const name = (what: string) =>
  z.string().trim().min(1, `Enter ${what}.`).max(120, "Use at most 120 characters.");

const schema = z
  .object({
    name: name("your name"),
    email: z.email("Enter your email address."),
    password: newPassword,
    repeat: z.string(),
    partner_name: name("your company's name"),
    client_name: name("a client's name"),
    site_name: name("a site's name"),
  })
  .refine((values) => values.password === values.repeat, {
    path: ["repeat"],
    message: "The two passwords differ.",
  });

type Values = z.infer<typeof schema>;
const ACCOUNT_FIELDS = ["name", "email", "password", "repeat"] as const;

function SetupForm({ token, onDone }: { token: string; onDone: (result: SetupResult) => void }) {
  const [step, setStep] = useState(0);
  const queryClient = useQueryClient();
  const form = useForm<Values>({
    resolver: zodResolver(schema),
    defaultValues: {
      name: "",
      email: "",
      password: "",
      repeat: "",
      partner_name: "",
      client_name: "",
      site_name: "Main office",
    },
  });
  const setup = useMutation({
    mutationFn: ({ repeat: _, ...values }: Values) =>
      unwrap(api.POST("/api/v1/setup", { body: { ...values, setup_token: token } })),
    onSuccess: (result) => {
      forgetFragment();
      queryClient.setQueryData(keys.session, result.session);
      onDone(result);
    },
    onError: (error) => {
      applyProblem(form, error);
      if (ACCOUNT_FIELDS.some((field) => form.getFieldState(field).invalid)) setStep(0);
    },
  });
  const { errors } = form.formState;
  const next = async () => {
    if (await form.trigger(ACCOUNT_FIELDS)) setStep(1);
    // The refinement over both passwords runs only once every field is valid.
    else if (form.getFieldState("repeat").invalid) form.setFocus("repeat");
  };
  return (
    <>
      <Steps steps={STEPS} current={step} />
      <form
        noValidate
        className="mt-8 grid gap-5"
        onSubmit={(event) => {
          if (step === 0) {
            event.preventDefault();
            void next();
          } else {
            void form.handleSubmit((values) => setup.mutate(values))(event);
          }
        }}
      >
        {step === 0 ? (
          <>
            <Intro title="Create the first account">
              It becomes the owner of your organisation and the administrator of this server. No
              default password exists.
            </Intro>
            <FormError>{errors.root?.message}</FormError>
            <div className="grid gap-4 sm:grid-cols-2">
              <Field label="Your name" error={errors.name?.message}>
                <Input autoComplete="name" autoFocus {...form.register("name")} />
              </Field>
              <Field label="Email" error={errors.email?.message}>
                <Input type="email" autoComplete="username" {...form.register("email")} />
              </Field>
              <Field
                label="Password"
                hint={`At least ${MIN_PASSWORD_CHARS} characters.`}
                error={errors.password?.message}
              >
                <Input type="password" autoComplete="new-password" {...form.register("password")} />
              </Field>
              <Field label="Password again" error={errors.repeat?.message}>
                <Input type="password" autoComplete="new-password" {...form.register("repeat")} />
              </Field>
            </div>
            <div className="flex justify-end">
              <Button key="continue" type="submit" variant="primary" size="lg">
                Continue
              </Button>
            </div>
          </>
        ) : (
          <>
            <Intro title="Name your organisation">
              Machines live at sites, sites belong to clients, clients belong to you. Start with one
              of each; more can be added at any time.
            </Intro>
            <FormError>{errors.root?.message}</FormError>
            <ol className="grid gap-0">
              <Level depth={0}>
                <Field
                  label="Your company"
                  hint="The managed service provider, called partner."
                  error={errors.partner_name?.message}
                >
                  <Input autoComplete="organization" autoFocus {...form.register("partner_name")} />
                </Field>
              </Level>
              <Level depth={1}>
                <Field
                  label="First client"
                  hint="A customer of yours, or your own company."
                  error={errors.client_name?.message}
                >
                  <Input autoComplete="off" {...form.register("client_name")} />
                </Field>
              </Level>
              <Level depth={2}>
                <Field
                  label="First site"
                  hint="One of the client's locations."
                  error={errors.site_name?.message}
                >
                  <Input autoComplete="off" {...form.register("site_name")} />
                </Field>
              </Level>
            </ol>
            <div className="flex justify-between gap-2">
              <Button key="back" size="lg" onClick={() => setStep(0)}>
                Back
              </Button>
              <Button type="submit" variant="primary" size="lg" busy={setup.isPending}>
                Finish setup
              </Button>
            </div>
          </>
        )}
      </form>
    </>
  );
}

function Intro({ title, children }: { title: string; children: string }) {
  return (
    <div>
      <h1 className="mb-1 font-semibold text-2xl tracking-tight">{title}</h1>
      <p className="max-w-prose text-base text-ink-2">{children}</p>
    </div>
  );
}

/** One level of the hierarchy, indented below its parent. */
function Level({ depth, children }: { depth: 0 | 1 | 2; children: React.ReactNode }) {
  const indent = [
    "",
    "ml-4 border-l border-line-strong pl-5 sm:ml-6",
    "ml-4 border-l border-line-strong pl-11 sm:ml-6 sm:pl-16",
  ][depth];
  return <li className={`py-2.5 ${indent}`}>{children}</li>;
}
