//! Errors to callers: problem+json (RFC 9457) with a stable code. Causes go to the log with the request id and
//! never to the caller.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::borrow::Cow;
use utoipa::ToSchema;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $status:ident, $title:literal;)*) => {
        /// Every code a caller can meet. The words are stable; docs/errors.md lists them for people.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// All codes, in the order of docs/errors.md.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The word in the `code` field.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $code,)* }
            }
            /// The HTTP status it comes with.
            pub fn status(self) -> StatusCode {
                match self { $(Code::$variant => StatusCode::$status,)* }
            }
            /// What it says to people.
            pub fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)* }
            }
        }
    };
}

codes! {
    MalformedRequest = "MALFORMED_REQUEST", BAD_REQUEST, "The request could not be read";
    InvalidQuery = "INVALID_QUERY", BAD_REQUEST, "A query parameter is not valid";
    Unauthenticated = "UNAUTHENTICATED", UNAUTHORIZED, "Sign in first";
    InvalidCredentials = "INVALID_CREDENTIALS", UNAUTHORIZED, "E-mail or password is wrong";
    SetupTokenInvalid = "SETUP_TOKEN_INVALID", UNAUTHORIZED, "The setup link is not valid or has expired";
    InvitationInvalid = "INVITATION_INVALID", UNAUTHORIZED, "The invitation is not valid, was used, or has expired";
    EnrollmentRefused = "ENROLLMENT_REFUSED", UNAUTHORIZED, "The site code or the enrollment key is wrong";
    AgentKeyRefused = "AGENT_KEY_REFUSED", UNAUTHORIZED, "The agent's key was not accepted";
    Forbidden = "FORBIDDEN", FORBIDDEN, "Your role does not allow this";
    NoPartner = "NO_PARTNER", FORBIDDEN, "This account is not a member of a partner";
    CsrfFailed = "CSRF_FAILED", FORBIDDEN, "The request did not come from the dashboard";
    OriginRefused = "ORIGIN_REFUSED", FORBIDDEN, "The request came from another site";
    RegistrationClosed = "REGISTRATION_CLOSED", FORBIDDEN, "Setup is over; ask an administrator for an invitation";
    AgentPending = "AGENT_PENDING", FORBIDDEN, "The machine waits for someone's approval";
    ChannelNotAllowed = "CHANNEL_NOT_ALLOWED", FORBIDDEN, "The machine's policy does not allow this to your role";
    NotFound = "NOT_FOUND", NOT_FOUND, "Not found";
    InstallerMissing = "INSTALLER_MISSING", NOT_FOUND, "This server cannot hand out that installer";
    MethodNotAllowed = "METHOD_NOT_ALLOWED", METHOD_NOT_ALLOWED, "This method is not offered here";
    NameTaken = "NAME_TAKEN", CONFLICT, "That name is already used";
    AlreadyMember = "ALREADY_MEMBER", CONFLICT, "That person is a member already";
    LastOwner = "LAST_OWNER", CONFLICT, "A partner needs at least one active owner";
    ClientNotEmpty = "CLIENT_NOT_EMPTY", CONFLICT, "The client still has sites";
    SiteNotEmpty = "SITE_NOT_EMPTY", CONFLICT, "The site still has agents";
    EnrollSiteConflict = "ENROLL_SITE_CONFLICT", CONFLICT, "This machine is enrolled at another site";
    AgentNotPending = "AGENT_NOT_PENDING", CONFLICT, "The machine does not wait for approval";
    AgentNotActive = "AGENT_NOT_ACTIVE", CONFLICT, "The machine is not approved yet, or was retired";
    AgentOffline = "AGENT_OFFLINE", CONFLICT, "The machine is offline";
    AiProviderNotConfigured = "AI_PROVIDER_NOT_CONFIGURED", CONFLICT, "No AI provider is configured";
    NoUpdatePublished = "NO_UPDATE_PUBLISHED", CONFLICT, "No newer agent version is published on this server";
    UpdateUnsupported = "UPDATE_UNSUPPORTED", CONFLICT, "This machine's agent cannot update itself";
    UpdateUnderWay = "UPDATE_UNDER_WAY", CONFLICT, "Another update of this machine is under way";
    NoPreviousVersion = "NO_PREVIOUS_VERSION", CONFLICT, "The machine has kept no version to go back to";
    AgentTooOld = "AGENT_TOO_OLD", CONFLICT, "The machine's agent is too old for this";
    UninstallUnderWay = "UNINSTALL_UNDER_WAY", CONFLICT, "The machine's agent is to be uninstalled already";
    ProtocolInUse = "PROTOCOL_IN_USE", CONFLICT, "The protocol version is still in use";
    SessionClosed = "SESSION_CLOSED", CONFLICT, "The session with the machine is closed";
    TooManySessions = "TOO_MANY_SESSIONS", CONFLICT, "You have as many sessions with machines open as you may";
    MachineRefused = "MACHINE_REFUSED", CONFLICT, "The machine refused the session";
    MachineFailed = "MACHINE_FAILED", CONFLICT, "The machine could not do it";
    RecordingDamaged = "RECORDING_DAMAGED", CONFLICT, "The recording is not as it was written";
    InvalidState = "INVALID_STATE", CONFLICT, "The object is not in a state that allows this";
    PayloadTooLarge = "PAYLOAD_TOO_LARGE", PAYLOAD_TOO_LARGE, "The request is too large";
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE", UNSUPPORTED_MEDIA_TYPE, "Send JSON";
    ValidationFailed = "VALIDATION_FAILED", UNPROCESSABLE_ENTITY, "Some fields are not valid";
    ReasonRequired = "REASON_REQUIRED", UNPROCESSABLE_ENTITY, "The machine's policy asks why the session is opened";
    TicketRequired = "TICKET_REQUIRED", UNPROCESSABLE_ENTITY, "The machine's policy asks for the number of a ticket";
    UpgradeRequired = "UPGRADE_REQUIRED", UPGRADE_REQUIRED, "This address speaks WebSocket";
    RateLimited = "RATE_LIMITED", TOO_MANY_REQUESTS, "Too many requests; try again later";
    AccountLocked = "ACCOUNT_LOCKED", TOO_MANY_REQUESTS, "Too many failed sign-ins; try again later";
    Internal = "INTERNAL", INTERNAL_SERVER_ERROR, "Something went wrong on the server";
    Unavailable = "UNAVAILABLE", SERVICE_UNAVAILABLE, "The server is busy; try again";
}

/// The one error of operations and handlers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something the caller can act on.
    #[error("{}", .0.code.as_str())]
    Problem(Box<ProblemError>),
    /// The database failed. Named constraints became problems before this.
    #[error("database error")]
    Database(#[source] sqlx::Error),
    /// Anything else that is not the caller's fault.
    #[error("internal error")]
    Internal(#[source] anyhow::Error),
}

/// What the caller is told.
#[derive(Debug)]
pub struct ProblemError {
    pub code: Code,
    pub detail: Option<Cow<'static, str>>,
    pub errors: Vec<FieldError>,
    pub retry_after_seconds: Option<u64>,
}

/// One field that is not valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Name of the field in the request.
    pub field: Cow<'static, str>,
    /// Stable word: `REQUIRED`, `TOO_LONG`, `TOO_SHORT`, `INVALID`, `OUT_OF_RANGE`, `TAKEN`.
    pub code: &'static str,
    /// For people.
    pub message: Cow<'static, str>,
}

/// The body of every error answer, `application/problem+json`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// `urn:gururmm:error:CODE`.
    pub r#type: String,
    pub title: &'static str,
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Stable word to program against.
    pub code: &'static str,
    /// To be named when asking for help; the log holds the cause under it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

impl Error {
    /// A problem with no more to say than its title.
    pub fn new(code: Code) -> Self {
        Self::Problem(Box::new(ProblemError {
            code,
            detail: None,
            errors: Vec::new(),
            retry_after_seconds: None,
        }))
    }

    /// A problem with one more sentence.
    pub fn with_detail(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let mut error = Self::new(code);
        if let Self::Problem(problem) = &mut error {
            problem.detail = Some(detail.into());
        }
        error
    }

    /// 422 for one field.
    pub fn field(
        field: impl Into<Cow<'static, str>>,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::fields(vec![FieldError { field: field.into(), code, message: message.into() }])
    }

    /// The same error about another field: rules are shared, field names are not.
    pub fn at_field(mut self, field: &'static str) -> Self {
        if let Self::Problem(problem) = &mut self {
            problem.errors.iter_mut().for_each(|error| error.field = Cow::Borrowed(field));
        }
        self
    }

    /// 422 for several fields.
    pub fn fields(errors: Vec<FieldError>) -> Self {
        Self::Problem(Box::new(ProblemError {
            code: Code::ValidationFailed,
            detail: None,
            errors,
            retry_after_seconds: None,
        }))
    }

    /// 429 with `Retry-After`.
    pub fn retry_after(code: Code, seconds: u64) -> Self {
        let mut error = Self::new(code);
        if let Self::Problem(problem) = &mut error {
            problem.retry_after_seconds = Some(seconds.max(1));
        }
        error
    }

    /// An internal error from any cause.
    pub fn internal(cause: impl Into<anyhow::Error>) -> Self {
        Self::Internal(cause.into())
    }

    /// 404: what one may not see does not exist.
    pub fn not_found() -> Self {
        Self::new(Code::NotFound)
    }

    /// Whether the same work can succeed in a moment: the database is away, restarting, overrun or read-only, or two
    /// transactions stood in each other's way.
    pub fn is_transient(&self) -> bool {
        // Classes, and of two classes the one code: read-only after a failover, and a lock that was not to be had.
        const TRANSIENT: [&str; 6] = ["08", "40", "53", "57", "25006", "55P03"];
        match self {
            Self::Database(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| TRANSIENT.iter().any(|class| code.starts_with(class)))
            }
            Self::Database(error) => matches!(
                error,
                sqlx::Error::Io(_)
                    | sqlx::Error::Tls(_)
                    | sqlx::Error::PoolTimedOut
                    | sqlx::Error::PoolClosed
                    | sqlx::Error::WorkerCrashed
            ),
            Self::Problem(_) | Self::Internal(_) => false,
        }
    }

    /// The code a caller would see.
    pub fn code(&self) -> Code {
        match self {
            Self::Problem(problem) => problem.code,
            Self::Database(sqlx::Error::PoolTimedOut) => Code::Unavailable,
            Self::Database(_) | Self::Internal(_) => Code::Internal,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::RowNotFound) {
            return Self::not_found();
        }
        // NUL, in text or in JSON: PostgreSQL keeps every character but that one.
        if matches!(
            error.as_database_error().and_then(|database| database.code()).as_deref(),
            Some("22021" | "22P05")
        ) {
            return Self::with_detail(Code::MalformedRequest, "text must not contain U+0000");
        }
        // A time that chrono can hold and PostgreSQL cannot.
        if error.as_database_error().and_then(|database| database.code()).as_deref() == Some("22008") {
            return Self::with_detail(Code::MalformedRequest, "a time is out of range");
        }
        match error.as_database_error().and_then(|database| database.constraint()).and_then(from_constraint) {
            Some(problem) => problem,
            None => Self::Database(error),
        }
    }
}

/// A named constraint becomes an error about a field, or a conflict.
fn from_constraint(name: &str) -> Option<Error> {
    let taken = |field| {
        Error::Problem(Box::new(ProblemError {
            code: Code::NameTaken,
            detail: None,
            errors: vec![FieldError {
                field: Cow::Borrowed(field),
                code: "TAKEN",
                message: "already used".into(),
            }],
            retry_after_seconds: None,
        }))
    };
    let length = |field| Error::field(field, "INVALID", "must have 1 to 120 characters");
    Some(match name {
        "partners_name_key" | "clients_name_key" | "sites_name_key" => taken("name"),
        "partners_name_length" | "clients_name_length" | "sites_name_length" | "users_name_length" => {
            length("name")
        }
        "users_email_key" => taken("email"),
        "memberships_person_key" => Error::new(Code::AlreadyMember),
        "sites_client_fk" => Error::new(Code::ClientNotEmpty),
        "agents_site_fk" => Error::new(Code::SiteNotEmpty),
        "partners_retention" => Error::field("retention_days", "INVALID", "must be 30, 90, 365 or 1095"),
        _ => return None,
    })
}

/// The cause of a 500, handed to the logging layer, which knows the request id.
#[derive(Clone)]
pub struct Cause(pub std::sync::Arc<Error>);

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let code = self.code();
        let (detail, errors, retry_after) = match &self {
            Self::Problem(problem) => (
                problem.detail.as_deref().map(str::to_owned),
                problem.errors.clone(),
                problem.retry_after_seconds,
            ),
            _ => (None, Vec::new(), None),
        };
        let mut response = problem_response(code, detail, errors, retry_after);
        if code.status().is_server_error() {
            response.extensions_mut().insert(Cause(std::sync::Arc::new(self)));
        }
        response
    }
}

fn problem_response(
    code: Code,
    detail: Option<String>,
    errors: Vec<FieldError>,
    retry_after_seconds: Option<u64>,
) -> Response {
    let problem = Problem {
        r#type: format!("urn:gururmm:error:{}", code.as_str()),
        title: code.title(),
        status: code.status().as_u16(),
        detail,
        code: code.as_str(),
        request_id: crate::http::request::current_request_id(),
        errors,
    };
    let mut response = (code.status(), axum::Json(problem)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = retry_after_seconds {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
