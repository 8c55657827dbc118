//! Where a server is reached.

use crate::client::ApiClient;

/// A server, in this process or in one of its own.
pub trait Endpoint {
    /// A client of it without credentials.
    fn anonymous(&self) -> ApiClient;

    /// Its own origin, as its pages have it.
    fn origin(&self) -> String;
}

impl<E: Endpoint> Endpoint for &E {
    fn anonymous(&self) -> ApiClient {
        (**self).anonymous()
    }

    fn origin(&self) -> String {
        (**self).origin()
    }
}
