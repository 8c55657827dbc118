//! Who acts, as the audit log names them.

use uuid::Uuid;

/// Who does something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    pub kind: ActorKind,
    pub id: Option<Uuid>,
    /// For people reading the audit log.
    pub name: String,
}

/// What kind of principal acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorKind {
    User,
    Agent,
    /// The server itself: jobs, gateway, command line.
    System,
    /// Someone without an account: setup, invitation, enrollment.
    Anonymous,
}

impl ActorKind {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Agent => "agent",
            Self::System => "system",
            Self::Anonymous => "anonymous",
        }
    }
}

impl Actor {
    /// The server itself; `reason` says which part of it.
    pub fn system(reason: &str) -> Self {
        Self { kind: ActorKind::System, id: None, name: reason.to_owned() }
    }

    /// The user behind it, for columns that name one.
    pub fn user_id(&self) -> Option<Uuid> {
        self.id.filter(|_| self.kind == ActorKind::User)
    }
}
