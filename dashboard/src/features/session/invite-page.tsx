import { zodResolver } from "@hookform/resolvers/zod";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useRouter } from "@tanstack/react-router";
import { useState } from "react";
import { useForm } from "react-hook-form";
import { z } from "zod";
import { api, unwrap } from "../../api/client";
import { applyProblem } from "../../lib/form";
import { ApiError } from "../../lib/problem";
import { Button } from "../../ui/button";
import { Field, FormError } from "../../ui/field";
import { Input } from "../../ui/input";
import { EmptyState, ErrorState, Skeleton } from "../../ui/states";
import { fragmentToken, MIN_PASSWORD_CHARS, newPassword } from "./passwords";
import { PublicPage } from "./public-page";
import { sessionQuery } from "./session";

export function InvitePage() {
  const [token] = useState(fragmentToken);
  const invitation = useQuery({
    queryKey: ["invitation", token],
    queryFn: () => unwrap(api.POST("/api/v1/invitations/check", { body: { token } })),
    enabled: token !== "",
    retry: false,
    staleTime: Number.POSITIVE_INFINITY,
  });
  const refused =
    token === "" ||
    (invitation.error instanceof ApiError &&
      invitation.error.status < 500 &&
      invitation.error.status !== 0);
  return (
    <PublicPage>
      {refused ? (
        <EmptyState title="This invitation cannot be used" className="px-0">
          It may have been used already, replaced by a newer one, or expired. Ask the person who
          invited you for a new link.
        </EmptyState>
      ) : invitation.isPending ? (
        <div role="status" aria-label="Loading" className="grid gap-4">
          <Skeleton className="h-8 w-2/3" />
          <Skeleton className="h-9" />
          <Skeleton className="h-9" />
        </div>
      ) : invitation.isError ? (
        <ErrorState error={invitation.error} onRetry={() => invitation.refetch()} />
      ) : (
        <Invited token={token} invitation={invitation.data} />
      )}
    </PublicPage>
  );
}

interface Invitation {
  email: string;
  name: string;
  partner_name: string;
  has_account: boolean;
}

function Invited({ token, invitation }: { token: string; invitation: Invitation }) {
  return (
    <>
      <h1 className="mb-1 font-semibold text-2xl tracking-tight wrap-anywhere">
        Join {invitation.partner_name}
      </h1>
      <p className="mb-6 text-base text-ink-2 wrap-anywhere">
        {invitation.has_account ? "You have an account here already: " : "You will sign in as "}
        <strong className="font-medium text-ink">{invitation.email}</strong>.
      </p>
      {invitation.has_account ? (
        <SignInAndAccept token={token} email={invitation.email} />
      ) : (
        <NewAccount token={token} name={invitation.name} />
      )}
    </>
  );
}

/** Whoever has an account proves it is hers; the invitation then adds a membership to it. */
function SignInAndAccept({ token, email }: { token: string; email: string }) {
  const router = useRouter();
  const queryClient = useQueryClient();
  const form = useForm({
    resolver: zodResolver(z.object({ password: z.string().min(1, "Enter your password.") })),
    defaultValues: { password: "" },
  });
  const accept = useMutation({
    mutationFn: async ({ password }: { password: string }) => {
      const session = await unwrap(api.POST("/api/v1/session", { body: { email, password } }));
      queryClient.clear();
      queryClient.setQueryData(sessionQuery.queryKey, session);
      await unwrap(api.POST("/api/v1/invitations/accept", { body: { token } }));
    },
    onSuccess: async () => {
      // The session does not know of the new membership yet.
      queryClient.clear();
      await router.navigate({ to: "/" });
    },
    onError: (error) => applyProblem(form, error),
  });
  const { errors } = form.formState;
  return (
    <form
      noValidate
      className="grid gap-4"
      onSubmit={form.handleSubmit((values) => accept.mutate(values))}
    >
      <FormError>{errors.root?.message}</FormError>
      <Field label="Your password" error={errors.password?.message}>
        <Input type="password" autoComplete="current-password" {...form.register("password")} />
      </Field>
      <Button type="submit" variant="primary" size="lg" busy={accept.isPending}>
        Sign in and join
      </Button>
    </form>
  );
}

const schema = z
  .object({
    name: z.string().trim().min(1, "Enter your name.").max(120, "Use at most 120 characters."),
    password: newPassword,
    repeat: z.string(),
  })
  .refine((values) => values.password === values.repeat, {
    path: ["repeat"],
    message: "The two passwords differ.",
  });

function NewAccount({ token, name }: { token: string; name: string }) {
  const navigate = useNavigate();
  const form = useForm({
    resolver: zodResolver(schema),
    defaultValues: { name, password: "", repeat: "" },
  });
  const accept = useMutation({
    mutationFn: ({ name, password }: z.infer<typeof schema>) =>
      unwrap(api.POST("/api/v1/invitations/accept", { body: { token, name, password } })),
    onSuccess: () => navigate({ to: "/sign-in", search: { reason: "accepted" } }),
    onError: (error) => applyProblem(form, error),
  });
  const { errors } = form.formState;
  return (
    <form
      noValidate
      className="grid gap-4"
      onSubmit={form.handleSubmit((values) => accept.mutate(values))}
    >
      <FormError>{errors.root?.message}</FormError>
      <Field label="Your name" error={errors.name?.message}>
        <Input autoComplete="name" {...form.register("name")} />
      </Field>
      <Field
        label="Password"
        hint={`At least ${MIN_PASSWORD_CHARS} characters. A few unrelated words are easy to remember.`}
        error={errors.password?.message}
      >
        <Input type="password" autoComplete="new-password" {...form.register("password")} />
      </Field>
      <Field label="Password again" error={errors.repeat?.message}>
        <Input type="password" autoComplete="new-password" {...form.register("repeat")} />
      </Field>
      <Button type="submit" variant="primary" size="lg" busy={accept.isPending}>
        Create account
      </Button>
    </form>
  );
}
