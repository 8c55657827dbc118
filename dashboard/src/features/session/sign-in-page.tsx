import { zodResolver } from "@hookform/resolvers/zod";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useRouter, useSearch } from "@tanstack/react-router";
import { useForm } from "react-hook-form";
import { z } from "zod";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import { applyProblem } from "../../lib/form";
import { Button } from "../../ui/button";
import { Field, FormError } from "../../ui/field";
import { Input } from "../../ui/input";
import { PublicPage } from "./public-page";
import { safeNext } from "./session";

const schema = z.object({
  email: z.email("Enter your email address."),
  password: z.string().min(1, "Enter your password."),
});

const GREETING = {
  none: "Use the account your administrator invited you with.",
  ended: "Your session has ended. Sign in to carry on where you were.",
  accepted: "Your account is ready. Sign in with the password you chose.",
  left: "You have signed out.",
};

export function SignInPage() {
  const { next, reason } = useSearch({ from: "/sign-in" });
  const router = useRouter();
  const queryClient = useQueryClient();
  const form = useForm({
    resolver: zodResolver(schema),
    defaultValues: { email: "", password: "" },
  });
  const signIn = useMutation({
    mutationFn: (body: z.infer<typeof schema>) => unwrap(api.POST("/api/v1/session", { body })),
    onSuccess: (session) => {
      queryClient.clear();
      queryClient.setQueryData(keys.session, session);
      router.history.push(safeNext(next));
    },
    onError: (error) => {
      form.setValue("password", "");
      applyProblem(form, error);
    },
  });
  const { errors } = form.formState;
  return (
    <PublicPage>
      <h1 className="mb-1 font-semibold text-2xl tracking-tight">Sign in</h1>
      <p className="mb-6 text-base text-ink-2">{GREETING[reason ?? "none"]}</p>
      <form
        noValidate
        className="grid gap-4"
        onSubmit={form.handleSubmit((values) => signIn.mutate(values))}
      >
        <FormError>{errors.root?.message}</FormError>
        <Field label="Email" error={errors.email?.message}>
          <Input type="email" autoComplete="username" autoFocus {...form.register("email")} />
        </Field>
        <Field label="Password" error={errors.password?.message}>
          <Input type="password" autoComplete="current-password" {...form.register("password")} />
        </Field>
        <Button type="submit" variant="primary" size="lg" busy={signIn.isPending}>
          Sign in
        </Button>
      </form>
    </PublicPage>
  );
}
