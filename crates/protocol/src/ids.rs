//! Ids that cross the wire. All are UUIDv7, made by the server, a crash report's and a gap's by the agent.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "schema", schema(value_type = uuid::Uuid))]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new, time-ordered id.
            #[expect(clippy::new_without_default, reason = "a default id would be a surprise: each call differs")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                s.parse().map(Self)
            }
        }
        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    };
}

id!(
    /// One enrolled machine.
    AgentId
);
id!(
    /// One command sent to one agent.
    CommandId
);
id!(
    /// One log that was asked of an agent.
    LogId
);
id!(
    /// One crash of an agent.
    CrashId
);
id!(
    /// One update of one agent.
    UpdateId
);
id!(
    /// One removal of one agent from its machine.
    UninstallId
);
id!(
    /// Samples of one agent that will never come.
    GapId
);
id!(
    /// One session of a tech with one machine.
    TunnelId
);
