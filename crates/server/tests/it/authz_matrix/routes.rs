//! Every operation of the API: who may call it, how, and what a right call is answered.

use super::fixture::{Fixture, Object};
use axum::http::Method;
use gururmm_testkit::packages;
use gururmm_testkit::world::{self, PASSWORD, Person, acme};
use serde_json::{Value, json};
use uuid::Uuid;

/// What a caller needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Needs {
    /// Public: works without any credential.
    Nothing,
    /// An account.
    SignedIn,
    /// At least this role in the partner.
    Member(&'static str),
    /// The same, and not confined.
    Unconfined(&'static str),
    PlatformAdmin,
}

/// A body, given everything there is and the id of the object it names.
type Body = fn(&Fixture, Uuid) -> Value;

/// One operation.
#[derive(Clone, Copy)]
pub struct Route {
    pub method: &'static str,
    /// As the OpenAPI document has it.
    pub path: &'static str,
    pub needs: Needs,
    /// What `{id}`, `{session_id}` or the body name.
    pub object: Object,
    /// What the other placeholders stand for.
    pub filled: &'static [(&'static str, &'static str)],
    /// What the path is asked with; `?` included.
    pub query: &'static str,
    pub body: Option<Body>,
    /// What the right caller is answered.
    pub success: u16,
}

impl Route {
    const fn on(self, object: Object) -> Self {
        Self { object, ..self }
    }

    const fn with(self, body: Body) -> Self {
        Self { body: Some(body), ..self }
    }

    const fn filling(self, filled: &'static [(&'static str, &'static str)]) -> Self {
        Self { filled, ..self }
    }

    const fn asking(self, query: &'static str) -> Self {
        Self { query, ..self }
    }

    /// Whether it changes anything.
    pub fn changes(&self) -> bool {
        self.method != "GET"
    }

    /// Its method.
    pub fn http_method(&self) -> Method {
        self.method.parse().unwrap()
    }

    /// The path for an object.
    pub fn path_for(&self, id: Uuid) -> String {
        let mut path = self.path.replace("{id}", &id.to_string()).replace("{session_id}", &id.to_string());
        for (name, value) in self.filled {
            path = path.replace(&format!("{{{name}}}"), value);
        }
        assert!(!path.contains('{'), "{path}: a placeholder is not filled");
        path + self.query
    }

    /// Someone with exactly what is needed.
    pub fn right_person(&self) -> Person {
        match self.needs {
            Needs::Nothing | Needs::SignedIn => acme::READER,
            Needs::Member(role) | Needs::Unconfined(role) => person_of(role),
            Needs::PlatformAdmin => world::PLATFORM_ADMIN,
        }
    }

    /// Someone with the next lower role.
    pub fn person_below(&self) -> Person {
        match self.needs {
            Needs::Member(role) | Needs::Unconfined(role) => person_of(match role {
                "owner" => "admin",
                "admin" => "tech",
                _ => "read_only",
            }),
            Needs::PlatformAdmin => acme::OWNER,
            // Nobody is too low to have an account.
            Needs::Nothing | Needs::SignedIn => acme::TECH,
        }
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

fn person_of(role: &str) -> Person {
    match role {
        "owner" => acme::OWNER,
        "admin" => acme::ADMIN,
        "tech" => acme::TECH,
        _ => acme::READER,
    }
}

const fn route(method: &'static str, path: &'static str, needs: Needs, success: u16) -> Route {
    Route { method, path, needs, object: Object::None, filled: &[], query: "", body: None, success }
}

const fn get(path: &'static str, needs: Needs) -> Route {
    route("GET", path, needs, 200)
}

const fn post(path: &'static str, needs: Needs, success: u16) -> Route {
    route("POST", path, needs, success)
}

const fn put(path: &'static str, needs: Needs) -> Route {
    route("PUT", path, needs, 200)
}

const fn patch(path: &'static str, needs: Needs) -> Route {
    route("PATCH", path, needs, 200)
}

const fn delete(path: &'static str, needs: Needs) -> Route {
    route("DELETE", path, needs, 204)
}

use Needs::{Member, Nothing, PlatformAdmin, SignedIn, Unconfined};

const READ: Needs = Member("read_only");
const TECH: Needs = Member("tech");

/// Without any account.
pub const PUBLIC: &[Route] = &[
    get("/health", Nothing),
    get("/ready", Nothing),
    post("/api/auth/login", Nothing, 200).with(|_, _| json!({"email": acme::TECH.email, "password": PASSWORD})),
    post("/api/v1/session", Nothing, 200).with(|_, _| json!({"email": acme::TECH.email, "password": PASSWORD})),
    // Setup is over: it does not exist any more, and registration says so.
    post("/api/auth/register", Nothing, 403)
        .with(|_, _| json!({"setup_token": "gsu_x", "email": "new@example.com", "password": PASSWORD})),
    post("/api/v1/setup/check", Nothing, 404).with(|_, _| json!({"setup_token": "gsu_x"})),
    post("/api/v1/setup", Nothing, 404).with(|_, _| {
        json!({"setup_token": "gsu_x", "email": "new@example.com", "name": "New", "password": PASSWORD,
               "partner_name": "P", "client_name": "C", "site_name": "S"})
    }),
    post("/api/v1/invitations/check", Nothing, 401).with(|_, _| json!({"token": "giv_x"})),
    post("/api/v1/invitations/accept", Nothing, 401).with(|_, _| json!({"token": "giv_x", "password": PASSWORD})),
    post("/api/enroll", Nothing, 201).with(|fixture, _| {
        json!({"site_code": acme::HQ.code, "enrollment_key": fixture.enrollment_secret, "hostname": "new-machine",
               "os_type": "linux", "os_version": "12", "arch": "x86_64", "agent_version": "0.1.0",
               "machine_uid": "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0",
               "machine_uid_source": "smbios_uuid"})
    }),
    post("/api/v1/bootstrap/hello", Nothing, 200).with(|_, _| {
        json!({"agent_version": "0.1.0", "protocol_version": "1.0", "os_type": "linux", "arch": "x86_64"})
    }),
    post("/api/install-reports", Nothing, 202)
        .with(|_, _| json!({"site_code": acme::HQ.code, "stage": "download", "error": "no network"})),
    get("/install/linux.sh", Nothing),
    get("/install/agent/linux-x86_64", Nothing),
    get("/install/agent/linux-aarch64", Nothing),
    get("/install/packages/{file}", Nothing).filling(&[("file", packages::MSI)]),
];

/// One's own account and sessions.
pub const ACCOUNT: &[Route] = &[
    get("/api/auth/me", SignedIn),
    post("/api/auth/logout", SignedIn, 204),
    get("/api/v1/session", SignedIn),
    delete("/api/v1/session", SignedIn),
    put("/api/v1/session/partner", SignedIn).with(|_, _| json!({"partner_id": acme::PARTNER.id})),
    get("/api/v1/sessions", SignedIn),
    delete("/api/v1/sessions", SignedIn),
    delete("/api/v1/sessions/{id}", SignedIn).on(Object::OwnSession),
    patch("/api/v1/profile", SignedIn).with(|_, _| json!({"name": "Renamed"})),
    post("/api/v1/profile/password", SignedIn, 204)
        .with(|_, _| json!({"current_password": PASSWORD, "new_password": "another-long-password-7"})),
    post("/api/v1/live/ticket", SignedIn, 200),
];

/// People.
pub const USERS: &[Route] = &[
    get("/api/v1/users", Unconfined("admin")),
    post("/api/v1/users", Unconfined("admin"), 201)
        .with(|_, _| json!({"email": "new@acme.example.com", "name": "New", "role": "tech"})),
    get("/api/v1/users/{id}", Unconfined("admin")).on(Object::User),
    patch("/api/v1/users/{id}", Unconfined("admin"))
        .on(Object::User)
        .with(|_, _| json!({"role": "read_only"})),
    delete("/api/v1/users/{id}", Unconfined("admin")).on(Object::User),
    post("/api/v1/users/{id}/invitation", Unconfined("admin"), 201).on(Object::InvitedUser),
    get("/api/v1/users/{id}/sessions", Unconfined("admin")).on(Object::User),
    delete("/api/v1/users/{id}/sessions", Unconfined("admin")).on(Object::User),
];

/// Partners, clients, sites.
pub const TENANCY: &[Route] = &[
    get("/api/v1/partner", READ),
    patch("/api/v1/partner", Unconfined("owner")).with(|_, _| json!({"name": "Acme Renamed"})),
    get("/api/v1/partners", PlatformAdmin),
    post("/api/v1/partners", PlatformAdmin, 201)
        .with(|_, _| json!({"name": "New partner", "owner_email": "new@example.com", "owner_name": "New"})),
    get("/api/v1/tree", READ),
    get("/api/v1/clients", READ),
    post("/api/v1/clients", Unconfined("admin"), 201).with(|_, _| json!({"name": "New"})),
    get("/api/v1/clients/{id}", READ).on(Object::Client),
    patch("/api/v1/clients/{id}", Unconfined("admin")).on(Object::Client).with(|_, _| json!({"name": "New"})),
    delete("/api/v1/clients/{id}", Unconfined("admin")).on(Object::EmptyClient),
    get("/api/v1/sites", READ),
    post("/api/v1/sites", Unconfined("admin"), 201)
        .with(|_, _| json!({"client_id": acme::ALPHA.id, "name": "New"})),
    get("/api/v1/sites/{id}", READ).on(Object::Site),
    patch("/api/v1/sites/{id}", Unconfined("admin")).on(Object::Site).with(|_, _| json!({"name": "New"})),
    delete("/api/v1/sites/{id}", Unconfined("admin")).on(Object::EmptySite),
    get("/api/v1/overview", READ),
];

/// Enrollment keys and what goes with them.
pub const ENROLLMENT: &[Route] = &[
    get("/api/v1/sites/{id}/enrollment-keys", TECH).on(Object::Site),
    post("/api/v1/sites/{id}/enrollment-keys", Member("admin"), 201)
        .on(Object::Site)
        .with(|_, _| json!({"label": "a laptop", "max_uses": 1})),
    post("/api/v1/sites/{id}/enrollment-keys/rotate", Member("admin"), 201).on(Object::Site),
    delete("/api/v1/enrollment-keys/{id}", Member("admin")).on(Object::EnrollmentKey),
    post("/api/v1/sites/{id}/installers", Member("admin"), 201)
        .on(Object::Site)
        .with(|_, _| json!({"file": packages::MSI, "max_uses": 1})),
    get("/api/v1/sites/{id}/install-reports", READ).on(Object::Site),
    get("/api/v1/server", SignedIn),
];

/// Machines and what they measure.
pub const AGENTS: &[Route] = &[
    get("/api/agents", READ),
    get("/api/agents/{id}", READ).on(Object::Agent),
    delete("/api/agents/{id}", Member("admin")).on(Object::Agent),
    post("/api/agents/{id}/move", Member("admin"), 200)
        .on(Object::Agent)
        .with(|fixture, _| json!({"site_id": fixture.id(Object::EmptySite)})),
    get("/api/v1/agents", READ),
    get("/api/v1/agents/{id}", READ).on(Object::Agent),
    post("/api/v1/agents/{id}/approve", Member("admin"), 200)
        .on(Object::PendingAgent)
        .with(|_, _| json!({"as": "accept"})),
    post("/api/v1/agents/{id}/reject", Member("admin"), 204).on(Object::PendingAgent),
    get("/api/v1/approvals", READ),
    // Each decision is answered for itself: one about a foreign machine is in `approvals`.
    post("/api/v1/approvals", Member("admin"), 200).with(
        |fixture, _| json!({"decisions": [{"agent_id": fixture.pending_agent.id, "verdict": "accept"}]}),
    ),
    post("/api/v1/agents/{id}/retire", Member("admin"), 200).on(Object::Agent),
    post("/api/v1/agents/{id}/restore", Member("admin"), 200).on(Object::RetiredAgent),
    get("/api/v1/agents/{id}/duplicates", READ).on(Object::Agent),
    post("/api/v1/agents/{id}/merge", Member("admin"), 200)
        .on(Object::Agent)
        .with(|fixture, _| json!({"merged_id": fixture.id(Object::RetiredAgent), "key": "kept"})),
    post("/api/v1/agents/{id}/reenroll", Member("admin"), 201).on(Object::Agent),
    post("/api/v1/agents/{id}/uninstall", Member("admin"), 202)
        .on(Object::Agent)
        .with(|_, _| json!({"hostname": "hq-server"})),
    // Nothing is ordered for it.
    post("/api/v1/agents/{id}/uninstall/cancel", Member("admin"), 409).on(Object::Agent),
    get("/api/v1/agents/{id}/metrics", READ).on(Object::Agent),
    get("/api/v1/agents/{id}/metrics/at", READ).on(Object::Agent),
    get("/api/v1/agents/{id}/metrics/gaps", READ).on(Object::Agent),
    get("/api/v1/agents/{id}/policy", READ).on(Object::Agent),
];

/// Commands and sessions with machines.
pub const COMMANDS: &[Route] = &[
    post("/api/agents/{id}/command", TECH, 200)
        .on(Object::Agent)
        .with(|_, _| json!({"command_type": "shell", "command": "uptime"})),
    get("/api/commands", READ),
    get("/api/commands/{id}", READ).on(Object::Command),
    post("/api/commands/{id}/cancel", TECH, 200).on(Object::Command),
    get("/api/v1/commands", READ),
    get("/api/v1/commands/{id}", READ).on(Object::Command),
    get("/api/v1/commands/{id}/output", READ).on(Object::Command),
];

const SERVICE: &[(&str, &str)] = &[("action", "restart")];

const fn in_tunnel(method: &'static str, path: &'static str) -> Route {
    route(method, path, TECH, 409).on(Object::Tunnel)
}

/// Sessions with machines. The machine of the matrix is not connected: what is done in its session is answered so.
pub const TUNNEL: &[Route] = &[
    post("/api/v1/tunnel/open", TECH, 200).on(Object::Agent).with(|_, id| json!({"agent_id": id})),
    get("/api/v1/tunnel/status/{session_id}", TECH).on(Object::Tunnel),
    post("/api/v1/tunnel/close", TECH, 200).on(Object::Tunnel).with(|_, id| json!({"session_id": id})),
    get("/api/v1/tunnel/sessions", TECH),
    post("/api/v1/tunnel/sessions/{id}/end", Member("admin"), 200).on(Object::Tunnel),
    post("/api/v1/tunnel/{session_id}/ticket", TECH, 200).on(Object::Tunnel),
    in_tunnel("GET", "/api/v1/tunnel/{session_id}/processes"),
    in_tunnel("POST", "/api/v1/tunnel/{session_id}/processes/kill")
        .with(|_, _| json!({"pid": 1, "started_ms": 0})),
    in_tunnel("POST", "/api/v1/tunnel/{session_id}/processes/priority")
        .with(|_, _| json!({"pid": 1, "started_ms": 0, "priority": "low"})),
    in_tunnel("GET", "/api/v1/tunnel/{session_id}/services"),
    in_tunnel("POST", "/api/v1/tunnel/{session_id}/services/{action}")
        .filling(SERVICE)
        .with(|_, _| json!({"name": "nginx.service"})),
    in_tunnel("GET", "/api/v1/tunnel/{session_id}/registry"),
    in_tunnel("POST", "/api/v1/tunnel/{session_id}/registry")
        .with(|_, _| json!({"do": "create_key", "key": "HKEY_LOCAL_MACHINE\\SOFTWARE\\Example"})),
    in_tunnel("GET", "/api/v1/tunnel/{session_id}/events"),
    in_tunnel("GET", "/api/v1/tunnel/{session_id}/files").asking("?path=/srv"),
    in_tunnel("POST", "/api/v1/tunnel/{session_id}/files")
        .with(|_, _| json!({"do": "make_folder", "path": "/srv/new"})),
    in_tunnel("GET", "/api/v1/tunnel/{session_id}/files/content").asking("?path=/srv/report.txt"),
    in_tunnel("PUT", "/api/v1/tunnel/{session_id}/files/content")
        .asking("?path=/srv/report.txt")
        .with(|_, _| json!({"any": "bytes"})),
];

/// What agents write themselves. The machine of the matrix is not connected: asking it is answered so.
pub const AGENT_LOGS: &[Route] = &[
    post("/api/v1/agents/{id}/logs", TECH, 409).on(Object::Agent),
    get("/api/v1/agents/{id}/logs", TECH).on(Object::Agent),
    get("/api/v1/agent-logs/{id}", TECH).on(Object::AgentLog),
    get("/api/v1/agents/{id}/connections", READ).on(Object::Agent),
    get("/api/v1/agents/{id}/crashes", TECH).on(Object::Agent),
    get("/api/v1/agent-crashes/{id}", TECH).on(Object::AgentCrash),
];

/// Updates of the agents. The machine of the matrix has not said that it can: an order is answered so.
pub const UPDATES: &[Route] = &[
    post("/api/agents/{id}/update", TECH, 409).on(Object::Agent),
    post("/api/v1/agents/{id}/roll-back", TECH, 409).on(Object::Agent),
    get("/api/v1/agents/{id}/updates", READ).on(Object::Agent),
    get("/api/v1/agents/{id}/update-state", READ).on(Object::Agent),
    get("/api/v1/updates/releases", READ),
    post("/api/v1/updates/check", PlatformAdmin, 200),
    get("/api/v1/updates/versions", READ),
    get("/api/v1/updates/protocols", PlatformAdmin),
    post("/api/v1/updates/protocols/{version}/retire", PlatformAdmin, 200).filling(&[("version", "1.0")]),
    get("/api/v1/updates/rollouts", Unconfined("read_only")),
    post("/api/v1/updates/rollouts/{id}/steps", Unconfined("admin"), 200)
        .on(Object::Rollout)
        .with(|_, _| json!({"action": "promote"})),
];

/// Alerts, audit, policies, the installation.
pub const OVERSIGHT: &[Route] = &[
    get("/api/v1/alerts", READ),
    get("/api/v1/alerts/{id}", READ).on(Object::Alert),
    post("/api/v1/alerts/{id}/acknowledge", TECH, 200).on(Object::Alert),
    post("/api/v1/alerts/{id}/resolve", TECH, 200).on(Object::Alert),
    delete("/api/v1/alerts/{id}", TECH).on(Object::ResolvedAlert),
    get("/api/v1/audit", Unconfined("admin")),
    get("/api/v1/audit/export", Unconfined("admin")).asking("?format=csv"),
    get("/api/v1/audit/verify", Unconfined("admin")),
    get("/api/v1/policies/platform/{id}", PlatformAdmin),
    put("/api/v1/policies/platform/{id}", PlatformAdmin).with(settings),
    get(POLICY, READ).on(Object::Partner).filling(&[("scope", "partner")]),
    put(POLICY, Unconfined("admin")).on(Object::Partner).filling(&[("scope", "partner")]).with(settings),
    get(POLICY, READ).on(Object::Client).filling(&[("scope", "client")]),
    put(POLICY, Unconfined("admin")).on(Object::Client).filling(&[("scope", "client")]).with(settings),
    get(POLICY, READ).on(Object::Site).filling(&[("scope", "site")]),
    put(POLICY, Unconfined("admin")).on(Object::Site).filling(&[("scope", "site")]).with(settings),
    get(POLICY, READ).on(Object::Agent).filling(&[("scope", "agent")]),
    put(POLICY, Unconfined("admin")).on(Object::Agent).filling(&[("scope", "agent")]).with(settings),
    get("/api/v1/system/nodes", PlatformAdmin),
    get("/api/v1/system/status", PlatformAdmin),
    get("/api/v1/system/follow-me", PlatformAdmin),
    put("/api/v1/system/follow-me", PlatformAdmin)
        .with(|_, _| json!({"server_url": "https://new.example.com"})),
    delete("/api/v1/system/follow-me", PlatformAdmin),
];

const POLICY: &str = "/api/v1/policies/{scope}/{id}";

fn settings(_: &Fixture, _: Uuid) -> Value {
    json!({"settings": {"metrics_interval_seconds": 30}})
}

/// Recordings of sessions with machines. The fixture's has one terminal, channel 1.
pub const RECORDINGS: &[Route] = &[
    get("/api/v1/recordings", Unconfined("admin")),
    get("/api/v1/recordings/{session_id}", Unconfined("admin")).on(Object::Recording),
    get("/api/v1/recordings/{session_id}/channels/{channel}/cast", Unconfined("admin"))
        .on(Object::Recording)
        .filling(&[("channel", "1")]),
    get("/api/v1/recordings/{session_id}/events", Unconfined("admin")).on(Object::Recording),
];

/// Routes that turn into a WebSocket.
pub const SOCKETS: &[&str] = &["/api/v1/agent/socket", "/api/v1/live", "/api/v1/tunnel/{session_id}/socket"];

/// The whole table.
pub fn all() -> impl Iterator<Item = &'static Route> {
    [
        PUBLIC, ACCOUNT, USERS, TENANCY, ENROLLMENT, AGENTS, COMMANDS, TUNNEL, AGENT_LOGS, UPDATES,
        OVERSIGHT, RECORDINGS,
    ]
    .into_iter()
    .flatten()
}
