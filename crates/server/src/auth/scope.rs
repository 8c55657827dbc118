//! The proof that a caller was checked, and what the database is told about the caller.

use super::actor::{Actor, ActorKind};
use super::credential::{self, Session};
use super::permission::{self, ManagePlatform, Permission, Role, System};
use crate::app::AppState;
use crate::error::{Code, Error};
use crate::http::RequestInfo;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use std::marker::PhantomData;
use uuid::Uuid;

/// The right to work as someone, within one partner, for permission `P`. Made by the extractor (a person's
/// request) or by [`Scope::system`] and its kin (the server's own work, each with its reason).
#[derive(Debug, Clone)]
pub struct Scope<P> {
    pub(crate) actor: Actor,
    pub(crate) tenant: Option<Uuid>,
    pub(crate) confinement: Confinement,
    pub(crate) role: Option<Role>,
    pub(crate) is_platform: bool,
    pub(crate) lane: Lane,
    pub(crate) request: RequestInfo,
    pub(crate) session_id: Option<Uuid>,
    permission: PhantomData<P>,
}

/// Which pool a scope's work uses: a storm of agents must not keep people from signing in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    Operators,
    Agents,
    Background,
}

impl Lane {
    /// Names the pool.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operators => "operators",
            Self::Agents => "agents",
            Self::Background => "background",
        }
    }
}

/// The part of a partner that a membership is confined to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confinement {
    pub client_ids: Vec<Uuid>,
    pub site_ids: Vec<Uuid>,
    /// Clients of the sites in `site_ids`: only their names show.
    pub parent_client_ids: Vec<Uuid>,
}

impl Confinement {
    /// Whether anything is out of sight.
    pub fn is_confined(&self) -> bool {
        !self.client_ids.is_empty() || !self.site_ids.is_empty()
    }

    /// Whether something of this client and site may be seen. Used where rows are not at hand: live events.
    pub fn shows(&self, client_id: Option<Uuid>, site_id: Option<Uuid>) -> bool {
        !self.is_confined()
            || client_id.is_some_and(|id| self.client_ids.contains(&id))
            || site_id.is_some_and(|id| self.site_ids.contains(&id))
    }
}

impl<P: Permission> Scope<P> {
    /// A person's scope, if the session allows `P`.
    pub(crate) fn for_session(session: &Session, request: RequestInfo) -> Result<Self, Error> {
        let is_confined = session.confinement.is_confined();
        if !permission::allows(P::NEEDS, session.role, is_confined, session.is_platform_admin) {
            let no_partner = session.role.is_none() && matches!(P::NEEDS, permission::Needs::Member(_));
            return Err(Error::new(if no_partner { Code::NoPartner } else { Code::Forbidden }));
        }
        Ok(Self {
            actor: Actor {
                kind: ActorKind::User,
                id: Some(session.user_id),
                name: session.user_name.clone(),
            },
            tenant: session.tenant_id,
            confinement: session.confinement.clone(),
            role: session.role,
            is_platform: matches!(P::NEEDS, permission::Needs::PlatformAdmin),
            lane: Lane::Operators,
            request,
            session_id: Some(session.session_id),
            permission: PhantomData,
        })
    }

    /// Who acts.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The partner this scope works in. Fails where there is none (platform work).
    pub fn tenant(&self) -> Result<Uuid, Error> {
        self.tenant.ok_or_else(|| Error::new(Code::NoPartner))
    }

    /// The signed-in user. Fails for the server's own work.
    pub fn user(&self) -> Result<Uuid, Error> {
        self.actor.user_id().ok_or_else(|| Error::new(Code::Unauthenticated))
    }

    /// The caller's role in the partner.
    pub fn role(&self) -> Option<Role> {
        self.role
    }

    /// Facts about the request.
    pub fn request(&self) -> &RequestInfo {
        &self.request
    }

    /// The session the request came with.
    pub fn session_id(&self) -> Option<Uuid> {
        self.session_id
    }
}

impl Scope<System> {
    /// The server's own work in one partner. `reason` goes to the audit log.
    pub fn system(reason: &str, tenant: Uuid) -> Self {
        Self::internal(Actor::system(reason), Some(tenant), Lane::Background)
    }

    /// The gateway's work for an authenticated agent, in that agent's partner.
    pub fn agent(agent_id: Uuid, tenant: Uuid, hostname: &str) -> Self {
        let actor = Actor { kind: ActorKind::Agent, id: Some(agent_id), name: hostname.to_owned() };
        Self::internal(actor, Some(tenant), Lane::Agents)
    }

    /// Work for someone who proved something other than a session (a password, an invitation, the setup token,
    /// an enrollment key): `tenant` and `user` come from that proof.
    pub fn proven(
        reason: &str,
        tenant: Option<Uuid>,
        user: Option<(Uuid, &str)>,
        request: RequestInfo,
    ) -> Self {
        let actor = match user {
            Some((id, name)) => Actor { kind: ActorKind::User, id: Some(id), name: name.to_owned() },
            None => Actor { kind: ActorKind::Anonymous, id: None, name: reason.to_owned() },
        };
        Self { request, ..Self::internal(actor, tenant, Lane::Operators) }
    }

    /// The work for a machine that proved to hold a valid enrollment key of this partner.
    pub fn enrollment(tenant: Uuid, request: RequestInfo) -> Self {
        let actor = Actor { kind: ActorKind::Anonymous, id: None, name: "enrollment".to_owned() };
        Self { request, ..Self::internal(actor, Some(tenant), Lane::Agents) }
    }

    /// Making partners, during setup or on the command line.
    pub fn platform(reason: &str, request: RequestInfo) -> Self {
        Self { is_platform: true, request, ..Self::internal(Actor::system(reason), None, Lane::Operators) }
    }

    fn internal(actor: Actor, tenant: Option<Uuid>, lane: Lane) -> Self {
        Self {
            actor,
            tenant,
            confinement: Confinement::default(),
            role: None,
            is_platform: false,
            lane,
            request: RequestInfo::default(),
            session_id: None,
            permission: PhantomData,
        }
    }

    /// The same work in another partner.
    pub fn in_tenant(&self, tenant: Uuid) -> Self {
        Self { tenant: Some(tenant), ..self.clone() }
    }
}

impl<P: Permission> Scope<P> {
    /// The administrator of the machine, on the command line: who owns the data folder may do anything in any
    /// partner, and the log says how it was done.
    pub(crate) fn administrator(tenant: Uuid) -> Self {
        let Scope { actor, lane, request, .. } =
            Scope::<System>::platform("command line", RequestInfo::default());
        Self {
            actor,
            tenant: Some(tenant),
            confinement: Confinement::default(),
            role: Some(Role::Owner),
            is_platform: matches!(P::NEEDS, permission::Needs::PlatformAdmin),
            lane,
            request,
            session_id: None,
            permission: PhantomData,
        }
    }
}

impl Scope<ManagePlatform> {
    /// The same person's work in a partner that is being made.
    pub(crate) fn in_new_partner(&self, tenant: Uuid) -> Self {
        Self { tenant: Some(tenant), confinement: Confinement::default(), role: None, ..self.clone() }
    }
}

impl<P: Permission> FromRequestParts<AppState> for Scope<P> {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Error> {
        let session = credential::authenticate(app, parts).await?;
        Self::for_session(&session, RequestInfo::of(parts))
    }
}
