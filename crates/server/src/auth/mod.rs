//! Who may do what. A [`Scope<P>`] proves that the caller was checked for permission `P`; it can only be made
//! here, and without one there is no transaction (`db::Db::begin`).

pub mod actor;
pub mod credential;
pub mod password;
pub mod permission;
pub mod scope;
pub mod throttle;

pub use actor::{Actor, ActorKind};
pub use permission::Role;
pub use scope::{Confinement, Scope};
