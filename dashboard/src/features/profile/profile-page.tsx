import { zodResolver } from "@hookform/resolvers/zod";
import {
  infiniteQueryOptions,
  useInfiniteQuery,
  useMutation,
  useQueryClient,
} from "@tanstack/react-query";
import { useForm } from "react-hook-form";
import { z } from "zod";
import { api, unwrap } from "../../api/client";
import { keys } from "../../api/keys";
import { byPages, rowsOf } from "../../api/query";
import { applyProblem } from "../../lib/form";
import { setTheme, useTheme } from "../../lib/theme";
import { Button } from "../../ui/button";
import { Field, FormError } from "../../ui/field";
import { Input } from "../../ui/input";
import { PagedList } from "../../ui/paged-list";
import { Panel } from "../../ui/panel";
import { Segmented } from "../../ui/segmented";
import { EmptyState } from "../../ui/states";
import { toast } from "../../ui/toast";
import { MIN_PASSWORD_CHARS, newPassword } from "../session/passwords";
import { sessionQuery, useSession } from "../session/session";
import { PageHeader } from "../shell/page-header";
import { SessionList } from "./session-list";

export function ProfilePage() {
  const session = useSession();
  const theme = useTheme();
  return (
    <>
      <PageHeader title="Profile" documentTitle="Profile" meta={session.user.email} />
      <div className="grid items-start gap-5 lg:grid-cols-2">
        <div className="grid gap-5">
          <NamePanel />
          <Panel title="Appearance">
            <Segmented
              label="Theme"
              value={theme}
              onChange={setTheme}
              options={[
                { value: "system", label: "As the system" },
                { value: "light", label: "Light" },
                { value: "dark", label: "Dark" },
              ]}
            />
          </Panel>
          <PasswordPanel />
        </div>
        <SessionsPanel />
      </div>
    </>
  );
}

const nameSchema = z.object({
  name: z.string().trim().min(1, "Enter your name.").max(120, "Use at most 120 characters."),
});

function NamePanel() {
  const session = useSession();
  const queryClient = useQueryClient();
  const form = useForm({
    resolver: zodResolver(nameSchema),
    values: { name: session.user.name },
  });
  const save = useMutation({
    mutationFn: (body: { name: string }) => unwrap(api.PATCH("/api/v1/profile", { body })),
    onSuccess: async () => {
      toast.done("Your name was saved.");
      await queryClient.invalidateQueries(sessionQuery);
    },
    onError: (error) => applyProblem(form, error),
  });
  return (
    <Panel title="Name">
      <form
        noValidate
        className="grid gap-4"
        onSubmit={form.handleSubmit((values) => save.mutate(values))}
      >
        <FormError>{form.formState.errors.root?.message}</FormError>
        <Field label="Your name" error={form.formState.errors.name?.message}>
          <Input autoComplete="name" {...form.register("name")} />
        </Field>
        <div>
          <Button type="submit" busy={save.isPending} disabled={!form.formState.isDirty}>
            Save name
          </Button>
        </div>
      </form>
    </Panel>
  );
}

const passwordSchema = z
  .object({
    current_password: z.string().min(1, "Enter your current password."),
    new_password: newPassword,
    repeat: z.string(),
  })
  .refine((values) => values.new_password === values.repeat, {
    path: ["repeat"],
    message: "The two passwords differ.",
  });

function PasswordPanel() {
  const queryClient = useQueryClient();
  const form = useForm({
    resolver: zodResolver(passwordSchema),
    defaultValues: { current_password: "", new_password: "", repeat: "" },
  });
  const save = useMutation({
    mutationFn: ({ current_password, new_password }: z.infer<typeof passwordSchema>) =>
      unwrap(api.POST("/api/v1/profile/password", { body: { current_password, new_password } })),
    onSuccess: async () => {
      form.reset();
      toast.done("Your password was changed. Your other sessions have ended.");
      await queryClient.invalidateQueries({ queryKey: keys.ownSessions });
    },
    onError: (error) => applyProblem(form, error),
  });
  const { errors } = form.formState;
  return (
    <Panel title="Password">
      <form
        noValidate
        className="grid gap-4"
        onSubmit={form.handleSubmit((values) => save.mutate(values))}
      >
        <FormError>{errors.root?.message}</FormError>
        <Field label="Current password" error={errors.current_password?.message}>
          <Input
            type="password"
            autoComplete="current-password"
            {...form.register("current_password")}
          />
        </Field>
        <Field
          label="New password"
          hint={`At least ${MIN_PASSWORD_CHARS} characters.`}
          error={errors.new_password?.message}
        >
          <Input type="password" autoComplete="new-password" {...form.register("new_password")} />
        </Field>
        <Field label="New password again" error={errors.repeat?.message}>
          <Input type="password" autoComplete="new-password" {...form.register("repeat")} />
        </Field>
        <div>
          <Button type="submit" busy={save.isPending}>
            Change password
          </Button>
        </div>
      </form>
    </Panel>
  );
}

const ownSessionsQuery = infiniteQueryOptions({
  queryKey: keys.ownSessions,
  queryFn: ({ pageParam: cursor }) =>
    unwrap(api.GET("/api/v1/sessions", { params: { query: { cursor } } })),
  ...byPages,
});

function SessionsPanel() {
  const queryClient = useQueryClient();
  const query = useInfiniteQuery(ownSessionsQuery);
  const sessions = rowsOf(query.data);
  const refresh = () => queryClient.invalidateQueries({ queryKey: keys.ownSessions });
  const end = useMutation({
    mutationFn: (id: string) =>
      unwrap(api.DELETE("/api/v1/sessions/{id}", { params: { path: { id } } })),
    onSuccess: refresh,
    onError: toast.failed,
  });
  const endOthers = useMutation({
    mutationFn: () => unwrap(api.DELETE("/api/v1/sessions")),
    onSuccess: async () => {
      toast.done("All your other sessions have ended.");
      await refresh();
    },
    onError: toast.failed,
  });
  const others = sessions.some(({ current }) => !current);
  return (
    <Panel
      title="Where you are signed in"
      flush
      actions={
        others && (
          <Button size="sm" busy={endOthers.isPending} onClick={() => endOthers.mutate()}>
            End all others
          </Button>
        )
      }
    >
      <PagedList
        query={query}
        skeletonRows={3}
        empty={<EmptyState title="Not signed in anywhere" className="py-6" />}
      >
        <div className="-mt-px">
          <SessionList
            sessions={sessions}
            onEnd={({ id }) => end.mutate(id)}
            ending={end.isPending ? end.variables : undefined}
          />
        </div>
      </PagedList>
    </Panel>
  );
}
