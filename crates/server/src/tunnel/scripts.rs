//! What is done in a session by an HTTP request: for scripts, and whoever wants no socket. Each is a channel of the server's
//! own, recorded like the others.

use super::caller::Caller;
use super::channel::ServerChannel;
use super::content;
use super::store;
use crate::app::{App, AppState};
use crate::audit::Entry;
use crate::error::{Code, Error};
use crate::http::{Json, Path, Query};
use axum::extract::State;
use gururmm_protocol::tunnel::events::{EventsMessage, Level, LogEntry, OpenEvents};
use gururmm_protocol::tunnel::files::{self, FileAnswer, FileRequest};
use gururmm_protocol::tunnel::processes::{Priority, Process, ProcessAnswer, ProcessKey, ProcessRequest};
use gururmm_protocol::tunnel::registry::{RegistryAnswer, RegistryRequest, RegistryValue};
use gururmm_protocol::tunnel::services::{Service, ServiceAnswer, ServiceRequest, Startup};
use gururmm_protocol::tunnel::{Frame, FrameKind, OpenChannel};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Entries of the log that are answered where nobody says how many.
const DEFAULT_EVENTS: u32 = 200;

/// Routes of this part.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_processes))
        .routes(routes!(kill_process))
        .routes(routes!(set_priority))
        .routes(routes!(list_services))
        .routes(routes!(change_service))
        .routes(routes!(read_registry, change_registry))
        .routes(routes!(read_events))
        .routes(routes!(list_files, change_files))
        .routes(routes!(content::download, content::upload))
}

/// All processes of a machine.
#[derive(Debug, Default, Serialize, ToSchema)]
struct ProcessList {
    processes: Vec<Process>,
    cpu_percent: f32,
    memory_used_bytes: u64,
    memory_bytes: u64,
}

/// The processes of the session's machine.
#[utoipa::path(get, path = "/api/v1/tunnel/{session_id}/processes", tag = "tunnel",
    params(("session_id" = Uuid, Path)), responses((status = 200, body = ProcessList)))]
async fn list_processes(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Json<ProcessList>, Error> {
    let answers = processes(&app, &caller, id, ProcessRequest::List {}).await?;
    let mut list = ProcessList::default();
    for answer in answers {
        match answer {
            ProcessAnswer::Processes { processes } => list.processes.extend(processes),
            ProcessAnswer::Figures { cpu_percent, memory_used_bytes, memory_bytes, .. } => {
                list = ProcessList { cpu_percent, memory_used_bytes, memory_bytes, ..list };
            }
            ProcessAnswer::Killed { .. } | ProcessAnswer::Done {} => {}
        }
    }
    Ok(Json(list))
}

/// Which process is to end, and how.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
struct KillInput {
    #[serde(flatten)]
    process: ProcessKey,
    /// With its descendants.
    #[serde(default)]
    tree: bool,
    /// Without asking it.
    #[serde(default)]
    force: bool,
}

/// How many processes were ended.
#[derive(Debug, Default, Serialize, ToSchema)]
struct Killed {
    processes: u32,
}

/// End a process.
#[utoipa::path(post, path = "/api/v1/tunnel/{session_id}/processes/kill", tag = "tunnel",
    params(("session_id" = Uuid, Path)), request_body = KillInput, responses((status = 200, body = Killed)))]
async fn kill_process(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Json(input): Json<KillInput>,
) -> Result<Json<Killed>, Error> {
    let KillInput { process, tree, force } = input;
    let answers = processes(&app, &caller, id, ProcessRequest::Kill { process, tree, force }).await?;
    let detail = json!({ "pid": process.pid, "tree": tree, "force": force });
    audit(&app, &caller, id, "tunnel.process_kill", detail).await?;
    let killed = answers.into_iter().find_map(|answer| match answer {
        ProcessAnswer::Killed { processes } => Some(Killed { processes }),
        _ => None,
    });
    Ok(Json(killed.unwrap_or_default()))
}

/// How much of the processor a process gets.
#[derive(Debug, Deserialize, ToSchema)]
struct PriorityInput {
    #[serde(flatten)]
    process: ProcessKey,
    priority: Priority,
}

/// Done.
#[derive(Debug, Serialize, ToSchema)]
struct Done {
    done: bool,
}

/// Change a process's priority.
#[utoipa::path(post, path = "/api/v1/tunnel/{session_id}/processes/priority", tag = "tunnel",
    params(("session_id" = Uuid, Path)), request_body = PriorityInput, responses((status = 200, body = Done)))]
async fn set_priority(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Json(PriorityInput { process, priority }): Json<PriorityInput>,
) -> Result<Json<Done>, Error> {
    processes(&app, &caller, id, ProcessRequest::SetPriority { process, priority }).await?;
    let detail = json!({ "pid": process.pid, "priority": priority });
    audit(&app, &caller, id, "tunnel.process_priority", detail).await?;
    Ok(Json(Done { done: true }))
}

async fn processes(
    app: &AppState,
    caller: &Caller,
    id: Uuid,
    request: ProcessRequest,
) -> Result<Vec<ProcessAnswer>, Error> {
    ServerChannel::open(app, caller, id, OpenChannel::Processes {}).await?.ask(request).await
}

/// All services of a machine.
#[derive(Debug, Default, Serialize, ToSchema)]
struct ServiceList {
    services: Vec<Service>,
    /// `systemd`, `launchd`, `windows`.
    manager: String,
}

/// The services of the session's machine.
#[utoipa::path(get, path = "/api/v1/tunnel/{session_id}/services", tag = "tunnel",
    params(("session_id" = Uuid, Path)), responses((status = 200, body = ServiceList)))]
async fn list_services(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Json<ServiceList>, Error> {
    let mut list = ServiceList::default();
    for answer in services(&app, &caller, id, ServiceRequest::List {}).await? {
        match answer {
            ServiceAnswer::Services { services } => list.services.extend(services),
            ServiceAnswer::Count { manager, .. } => list.manager = manager,
            ServiceAnswer::Service { .. } | ServiceAnswer::Log { .. } => {}
        }
    }
    Ok(Json(list))
}

/// Which service; for `startup` also when it is to start.
#[derive(Debug, Deserialize, ToSchema)]
struct ServiceInput {
    name: String,
    #[serde(default)]
    startup: Option<Startup>,
}

/// Start, stop or restart a service, or change when it starts (`start`, `stop`, `restart`, `startup`).
#[utoipa::path(post, path = "/api/v1/tunnel/{session_id}/services/{action}", tag = "tunnel",
    params(("session_id" = Uuid, Path), ("action" = String, Path)), request_body = ServiceInput,
    responses((status = 200, body = Service)))]
async fn change_service(
    State(app): State<AppState>,
    caller: Caller,
    Path((id, action)): Path<(Uuid, String)>,
    Json(ServiceInput { name, startup }): Json<ServiceInput>,
) -> Result<Json<Service>, Error> {
    let request = match (action.as_str(), startup) {
        ("start", _) => ServiceRequest::Start { name: name.clone() },
        ("stop", _) => ServiceRequest::Stop { name: name.clone() },
        ("restart", _) => ServiceRequest::Restart { name: name.clone() },
        ("startup", Some(startup)) => ServiceRequest::SetStartup { name: name.clone(), startup },
        ("startup", None) => return Err(Error::field("startup", "REQUIRED", "is missing")),
        _ => return Err(Error::not_found()),
    };
    let answers = services(&app, &caller, id, request).await?;
    let detail = json!({ "action": action, "service": name, "startup": startup });
    audit(&app, &caller, id, "tunnel.service_change", detail).await?;
    let service = answers.into_iter().find_map(|answer| match answer {
        ServiceAnswer::Service { service } => Some(service),
        _ => None,
    });
    service.map(Json).ok_or_else(|| Error::new(Code::MachineFailed))
}

async fn services(
    app: &AppState,
    caller: &Caller,
    id: Uuid,
    request: ServiceRequest,
) -> Result<Vec<ServiceAnswer>, Error> {
    ServerChannel::open(app, caller, id, OpenChannel::Services {}).await?.ask(request).await
}

/// Which key of the registry.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct RegistryQuery {
    /// Absent: the roots.
    #[serde(default)]
    key: String,
}

/// What is in a key.
#[derive(Debug, Default, Serialize, ToSchema)]
struct RegistryKey {
    keys: Vec<String>,
    values: Vec<RegistryValue>,
}

/// A key of the registry of the session's machine.
#[utoipa::path(get, path = "/api/v1/tunnel/{session_id}/registry", tag = "tunnel",
    params(("session_id" = Uuid, Path), RegistryQuery), responses((status = 200, body = RegistryKey)))]
async fn read_registry(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(RegistryQuery { key }): Query<RegistryQuery>,
) -> Result<Json<RegistryKey>, Error> {
    let mut found = RegistryKey::default();
    for answer in registry(&app, &caller, id, &RegistryRequest::List { key }).await? {
        match answer {
            RegistryAnswer::Keys { keys } => found.keys.extend(keys),
            RegistryAnswer::Values { values } => found.values.extend(values),
            RegistryAnswer::Count { .. } | RegistryAnswer::Text { .. } | RegistryAnswer::Done {} => {}
        }
    }
    Ok(Json(found))
}

/// What came back, part by part.
#[derive(Debug, Serialize, ToSchema)]
struct RegistryAnswers {
    answers: Vec<RegistryAnswer>,
}

/// Do one thing in the registry: write, delete, create, export.
#[utoipa::path(post, path = "/api/v1/tunnel/{session_id}/registry", tag = "tunnel",
    params(("session_id" = Uuid, Path)), request_body = RegistryRequest,
    responses((status = 200, body = RegistryAnswers)))]
async fn change_registry(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Json(request): Json<RegistryRequest>,
) -> Result<Json<RegistryAnswers>, Error> {
    let answers = registry(&app, &caller, id, &request).await?;
    let detail = match &request {
        // Values may be secrets.
        RegistryRequest::SetValue { key, name, .. } => json!({ "do": "set_value", "key": key, "name": name }),
        other => serde_json::to_value(other).map_err(Error::internal)?,
    };
    audit(&app, &caller, id, "tunnel.registry", detail).await?;
    Ok(Json(RegistryAnswers { answers }))
}

async fn registry(
    app: &AppState,
    caller: &Caller,
    id: Uuid,
    request: &RegistryRequest,
) -> Result<Vec<RegistryAnswer>, Error> {
    ServerChannel::open(app, caller, id, OpenChannel::Registry {}).await?.ask(request).await
}

/// Which entries of the log.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct EventsQuery {
    /// Windows: the log; journald: the unit.
    log: Option<String>,
    /// The least grave.
    level: Option<Level>,
    /// Milliseconds since 1970.
    since_ms: Option<i64>,
    /// Milliseconds since 1970.
    until_ms: Option<i64>,
    /// What the text contains.
    text: Option<String>,
    /// The last so many, 1 to 5000; 200 when absent.
    #[param(minimum = 1, maximum = 5000)]
    limit: Option<u32>,
}

/// Entries of a log, oldest first.
#[derive(Debug, Default, Serialize, ToSchema)]
struct EventList {
    events: Vec<LogEntry>,
    /// Older ones were left out.
    more: bool,
}

/// The system's log of the session's machine.
#[utoipa::path(get, path = "/api/v1/tunnel/{session_id}/events", tag = "tunnel",
    params(("session_id" = Uuid, Path), EventsQuery), responses((status = 200, body = EventList)))]
async fn read_events(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(query): Query<EventsQuery>,
) -> Result<Json<EventList>, Error> {
    let EventsQuery { log, level, since_ms, until_ms, text, limit } = query;
    let limit = limit.unwrap_or(DEFAULT_EVENTS);
    if !(1..=gururmm_protocol::tunnel::events::MAX_EVENTS).contains(&limit) {
        return Err(Error::with_detail(Code::InvalidQuery, "limit must be 1 to 5000"));
    }
    let open = OpenEvents { log, level, since_ms, until_ms, text, limit, follow: false };
    let mut channel = ServerChannel::open(&app, &caller, id, OpenChannel::Events(open)).await?;
    let mut list = EventList::default();
    loop {
        let bytes = channel.next().await?;
        let Ok(frame) = Frame::read(&bytes) else { continue };
        if frame.kind != FrameKind::Message {
            continue;
        }
        match frame.json::<EventsMessage>() {
            Ok(EventsMessage::Events { events }) => {
                let room = (limit as usize).saturating_sub(list.events.len());
                list.events.extend(events.into_iter().take(room));
            }
            Ok(EventsMessage::Caught { more }) => {
                list.more = more;
                return Ok(Json(list));
            }
            Err(_not_json) => return Err(Error::new(Code::MachineFailed)),
        }
        channel.dealt_with(frame.cost());
    }
}

/// Which folder.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct FolderQuery {
    path: String,
}

/// What is in a folder.
#[derive(Debug, Default, Serialize, ToSchema)]
struct FolderList {
    /// As the machine writes it.
    path: String,
    entries: Vec<files::Entry>,
}

/// What is in a folder of the session's machine.
#[utoipa::path(get, path = "/api/v1/tunnel/{session_id}/files", tag = "tunnel",
    params(("session_id" = Uuid, Path), FolderQuery), responses((status = 200, body = FolderList)))]
async fn list_files(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(FolderQuery { path }): Query<FolderQuery>,
) -> Result<Json<FolderList>, Error> {
    let mut list = FolderList::default();
    for answer in file_answers(&app, &caller, id, &FileRequest::List { path }).await? {
        match answer {
            FileAnswer::Entries { entries } => list.entries.extend(entries),
            FileAnswer::Folder { path, .. } => list.path = path,
            FileAnswer::Places { .. }
            | FileAnswer::Entry { .. }
            | FileAnswer::Text { .. }
            | FileAnswer::Done {} => {}
        }
    }
    Ok(Json(list))
}

/// What came back, part by part.
#[derive(Debug, Serialize, ToSchema)]
struct FileAnswers {
    answers: Vec<FileAnswer>,
}

/// Do one thing with files: make, rename, copy, delete, read or write text, and so on.
#[utoipa::path(post, path = "/api/v1/tunnel/{session_id}/files", tag = "tunnel",
    params(("session_id" = Uuid, Path)), request_body = FileRequest, responses((status = 200, body = FileAnswers)))]
async fn change_files(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Json(request): Json<FileRequest>,
) -> Result<Json<FileAnswers>, Error> {
    let answers = file_answers(&app, &caller, id, &request).await?;
    let detail = match &request {
        FileRequest::WriteText { path, .. } => json!({ "do": "write_text", "path": path }),
        other => serde_json::to_value(other).map_err(Error::internal)?,
    };
    audit(&app, &caller, id, "tunnel.files", detail).await?;
    Ok(Json(FileAnswers { answers }))
}

async fn file_answers(
    app: &AppState,
    caller: &Caller,
    id: Uuid,
    request: &FileRequest,
) -> Result<Vec<FileAnswer>, Error> {
    ServerChannel::open(app, caller, id, OpenChannel::Files {}).await?.ask(request).await
}

/// Notes what a request did in a session.
pub async fn audit(
    app: &App,
    caller: &Caller,
    id: Uuid,
    action: &'static str,
    detail: Value,
) -> Result<(), Error> {
    let mut tx = app.db.begin(&caller.scope).await?;
    let session = store::get(&mut tx, id).await?;
    let hostname = session.and_then(|session| session.agent_hostname).unwrap_or_default();
    tx.audit(Entry::new(action, "tunnel", id).named(&hostname).with(detail)).await?;
    tx.commit().await
}
