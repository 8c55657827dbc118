//! What all handlers share: reading requests into types with problem+json on failure, request ids, paging.

pub mod extract;
pub mod layers;
pub mod page;
pub mod request;

pub use extract::{Json, Path, Query};
pub use page::{Cursor, Page, PageQuery, SchemaName};
pub use request::RequestInfo;
