//! Services: systemd's units, launchd's jobs, Windows' services.

use serde::{Deserialize, Serialize};

/// Services in one part of an answer.
pub const SERVICES_PER_PART: usize = 100;

/// Something about services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum ServiceRequest {
    /// All services: parts with services, then a reply with their number.
    List {},
    Start {
        name: String,
    },
    Stop {
        name: String,
    },
    Restart {
        name: String,
    },
    SetStartup {
        name: String,
        startup: Startup,
    },
    /// The last lines of the service's log, at most 500. Not on Windows.
    Log {
        name: String,
        lines: u32,
    },
    /// A kind this build does not know.
    #[serde(other)]
    Unknown,
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum ServiceAnswer {
    Services {
        services: Vec<Service>,
    },
    /// The end of a list. `manager`: `systemd`, `launchd`, `windows`.
    Count {
        services: u64,
        manager: String,
    },
    /// The service as it is after what was asked.
    Service {
        service: Service,
    },
    Log {
        lines: Vec<String>,
    },
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Service {
    /// What requests take.
    pub name: String,
    /// For people.
    pub display_name: String,
    pub state: ServiceState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup: Option<Startup>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// As whom it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// What a service does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    Running,
    Stopped,
    Starting,
    Stopping,
    Paused,
    Failed,
    #[serde(other)]
    Unknown,
}

/// When a service starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Startup {
    /// With the system.
    Automatic,
    /// A while after it. Windows alone.
    Delayed,
    /// When asked.
    Manual,
    /// Never, not even when asked (systemd: masked).
    Disabled,
    /// As the system says, which no request can set (systemd: static, generated).
    #[serde(other)]
    Fixed,
}
