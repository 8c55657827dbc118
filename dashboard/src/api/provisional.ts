// The operations the dashboard calls, in the form openapi-typescript generates.
import type * as T from "./types";

type Json<B> = { content: { "application/json": B } };
type Op<Res, Q = never, P = never, B = never> = {
  parameters: {
    query?: [Q] extends [never] ? never : Q;
    header?: never;
    path: [P] extends [never] ? never : P;
    cookie?: never;
  };
  requestBody: [B] extends [never] ? never : Json<B>;
  responses: { 200: Json<Res>; default: Json<T.Problem> };
};
type NoPath<Res, Q = never, B = never> = Omit<
  Op<Res, Q, never, B>,
  "parameters" | "requestBody"
> & {
  parameters: { query?: [Q] extends [never] ? never : Q; header?: never; path?: never };
  requestBody?: [B] extends [never] ? never : Json<B>;
};
type WithId<Res, Q = never, B = never> = Omit<Op<Res, Q, { id: string }, B>, "requestBody"> & {
  requestBody?: [B] extends [never] ? never : Json<B>;
};
type Paging = { cursor?: string; limit?: number };

export interface paths {
  "/api/v1/setup/check": { post: NoPath<void, never, { setup_token: string }> };
  "/api/v1/setup": { post: NoPath<T.SetupResult, never, T.SetupRequest> };
  "/api/v1/session": {
    get: NoPath<T.SessionInfo>;
    post: NoPath<T.SessionInfo, never, { email: string; password: string }>;
    delete: NoPath<void>;
  };
  "/api/v1/session/partner": { put: NoPath<T.SessionInfo, never, { partner_id: string }> };
  "/api/v1/sessions": { get: NoPath<T.Page<T.Session>>; delete: NoPath<void> };
  "/api/v1/sessions/{id}": { delete: WithId<void> };
  "/api/v1/profile": { patch: NoPath<T.User, never, { name: string }> };
  "/api/v1/profile/password": {
    post: NoPath<void, never, { current_password: string; new_password: string }>;
  };
  "/api/v1/users": {
    get: NoPath<T.Page<T.PartnerUser>, Paging>;
    post: NoPath<
      { user: T.PartnerUser; invitation: T.Invitation },
      never,
      { email: string; name: string; role: T.Role; client_ids?: string[]; site_ids?: string[] }
    >;
  };
  "/api/v1/users/{id}": {
    get: WithId<T.PartnerUser>;
    patch: WithId<
      T.PartnerUser,
      never,
      {
        name?: string;
        role?: T.Role;
        status?: "active" | "suspended";
        client_ids?: string[];
        site_ids?: string[];
      }
    >;
    delete: WithId<void>;
  };
  "/api/v1/users/{id}/invitation": { post: WithId<T.Invitation> };
  "/api/v1/users/{id}/sessions": { get: WithId<T.Page<T.Session>>; delete: WithId<void> };
  "/api/v1/invitations/check": {
    post: NoPath<
      { email: string; name: string; partner_name: string; has_account: boolean },
      never,
      { token: string }
    >;
  };
  "/api/v1/invitations/accept": {
    post: NoPath<void, never, { token: string; name?: string; password?: string }>;
  };
  "/api/v1/partner": {
    get: NoPath<T.Partner>;
    patch: NoPath<T.Partner, never, { name?: string; retention_days?: number }>;
  };
  "/api/v1/partners": {
    get: NoPath<T.Page<T.Partner>, Paging>;
    post: NoPath<
      { partner: T.Partner; invitation: T.Invitation },
      never,
      { name: string; owner_email: string; owner_name: string }
    >;
  };
  "/api/v1/tree": { get: NoPath<T.Tree> };
  "/api/v1/clients": {
    get: NoPath<T.Page<T.Client>, Paging>;
    post: NoPath<T.Client, never, { name: string }>;
  };
  "/api/v1/clients/{id}": {
    get: WithId<T.Client>;
    patch: WithId<T.Client, never, { name?: string }>;
    delete: WithId<void>;
  };
  "/api/v1/sites": {
    get: NoPath<T.Page<T.Site>, Paging & { client_id?: string }>;
    post: NoPath<T.Site, never, { client_id: string; name: string; approval_required?: boolean }>;
  };
  "/api/v1/sites/{id}": {
    get: WithId<T.Site>;
    patch: WithId<T.Site, never, { name?: string; approval_required?: boolean }>;
    delete: WithId<void>;
  };
  "/api/v1/sites/{id}/enrollment-keys": {
    get: WithId<T.Page<T.EnrollmentKey>>;
    post: WithId<
      T.KeyOnce,
      never,
      { expires_in_hours?: number; max_uses?: number; label?: string }
    >;
  };
  "/api/v1/sites/{id}/enrollment-keys/rotate": { post: WithId<T.KeyOnce> };
  "/api/v1/sites/{id}/install-reports": { get: WithId<T.Page<T.InstallReport>> };
  "/api/v1/enrollment-keys/{id}": { delete: WithId<void> };
  "/api/v1/server": { get: NoPath<T.ServerInfo> };
  "/api/v1/agents": {
    get: NoPath<
      T.Page<T.Agent>,
      Paging & {
        search?: string;
        status?: T.AgentStatus;
        client_id?: string;
        site_id?: string;
        os_type?: T.OsType;
        sort?: T.AgentSort;
        order?: "asc" | "desc";
      }
    >;
  };
  "/api/v1/agents/{id}": { get: WithId<T.AgentDetail> };
  "/api/v1/agents/{id}/approve": {
    post: WithId<T.Agent, never, { as: "new" | "same_machine" | "accept" }>;
  };
  "/api/v1/agents/{id}/reject": { post: WithId<void> };
  "/api/v1/agents/{id}/metrics": {
    get: WithId<T.MetricSeries, { from?: string; to?: string; points?: number }>;
  };
  "/api/v1/agents/{id}/metrics/at": { get: WithId<T.Sample, { time?: string }> };
  "/api/v1/agents/{id}/policy": { get: WithId<T.EffectivePolicy> };
  "/api/agents/{id}": { delete: WithId<void> };
  "/api/agents/{id}/move": { post: WithId<T.Agent, never, { site_id: string }> };
  "/api/agents/{id}/command": {
    post: WithId<{ command_id: string; status: T.CommandStatus }, never, T.CommandRequest>;
  };
  "/api/v1/commands": {
    get: NoPath<T.Page<T.Command>, Paging & { agent_id?: string; status?: T.CommandStatus }>;
  };
  "/api/commands/{id}": { get: WithId<T.Command> };
  "/api/commands/{id}/cancel": { post: WithId<T.Command> };
  "/api/v1/commands/{id}/output": {
    get: WithId<{ chunks: T.OutputChunk[]; complete: boolean }, { after_seq?: number }>;
  };
  "/api/v1/alerts": {
    get: NoPath<
      T.Page<T.Alert>,
      Paging & { status?: T.AlertStatus; severity?: T.Severity; agent_id?: string }
    >;
  };
  "/api/v1/alerts/{id}/acknowledge": { post: WithId<T.Alert> };
  "/api/v1/alerts/{id}/resolve": { post: WithId<T.Alert> };
  "/api/v1/audit": {
    get: NoPath<
      T.Page<T.AuditEntry>,
      Paging & {
        action?: string;
        actor_id?: string;
        target_id?: string;
        from?: string;
        to?: string;
        search?: string;
      }
    >;
  };
  "/api/v1/audit/verify": { get: NoPath<T.AuditVerdict> };
  "/api/v1/policies/{scope}/{id}": {
    get: Omit<Op<T.Policy, never, { scope: T.PolicyScope; id: string }>, "requestBody">;
    put: Op<T.Policy, never, { scope: T.PolicyScope; id: string }, { settings: T.PolicySettings }>;
  };
  "/api/v1/overview": { get: NoPath<T.Overview> };
  "/api/v1/system/status": { get: NoPath<T.SystemStatus> };
  "/api/v1/live/ticket": { post: NoPath<{ ticket: string; expires_in_seconds: number }> };
}
