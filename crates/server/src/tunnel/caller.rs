//! A tech's HTTP request in a session of hers: her scope, and what tells later whether that still holds.

use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::credential::{self, Admitted};
use crate::auth::permission::UseTunnel;
use crate::error::Error;
use crate::http::RequestInfo;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;

/// Who asks.
pub struct Caller {
    pub scope: Scope<UseTunnel>,
    pub admitted: Admitted,
}

impl Caller {
    /// Who opened a socket.
    pub fn of(admitted: Admitted, request: RequestInfo) -> Result<Self, Error> {
        let scope = Scope::for_session(&admitted.session, request)?;
        Ok(Self { scope, admitted })
    }
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Error> {
        let admitted = credential::admitted(app, parts).await?;
        Self::of(admitted, RequestInfo::of(parts))
    }
}
