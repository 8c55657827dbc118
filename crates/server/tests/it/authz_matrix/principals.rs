//! Everyone who may knock, and what each is to be answered.

use super::fixture::{Fixture, Object};
use super::routes::{Needs, Route};
use gururmm_server::auth::credential::{SESSION_PREFIX, SessionKind};
use gururmm_server::keys::{Purpose, random_token};
use gururmm_testkit::ApiClient;
use gururmm_testkit::agent::AGENT_HEADER;
use gururmm_testkit::world::{self, Person, acme, globex};
use uuid::Uuid;

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Principal {
    Anonymous,
    /// A session token nobody was given.
    Garbage,
    ExpiredSession,
    RevokedSession,
    /// A session for API clients, sent as a cookie.
    ApiTokenAsCookie,
    /// A dashboard's session, sent as a bearer token.
    CookieAsBearer,
    /// A dashboard's session without its CSRF token.
    CookieWithoutCsrf,
    /// A machine's key, as it is sent to the agents' socket.
    AgentCredential,
    EnrollmentKey,
    SetupToken,
    InvitationToken,
    LiveTicket,
    /// Someone who was invited and has not accepted, with a session forged for her.
    InvitedNotAccepted,
    /// A suspended account with a session from before.
    Suspended,
    /// An active account whose membership was suspended.
    MembershipSuspended,
    /// A member of the partner with the next lower role.
    TooLow,
    /// The right role, confined to the client the object stands in.
    ConfinedHere,
    /// The right role, confined to another site of the same client.
    OtherSite,
    /// The right role, confined to another client.
    OtherClient,
    /// An owner, of another partner.
    OtherPartner,
    /// Runs the installation, and is no member.
    PlatformAdmin,
}

impl Principal {
    pub const ALL: [Self; 21] = [
        Self::Anonymous,
        Self::Garbage,
        Self::ExpiredSession,
        Self::RevokedSession,
        Self::ApiTokenAsCookie,
        Self::CookieAsBearer,
        Self::CookieWithoutCsrf,
        Self::AgentCredential,
        Self::EnrollmentKey,
        Self::SetupToken,
        Self::InvitationToken,
        Self::LiveTicket,
        Self::InvitedNotAccepted,
        Self::Suspended,
        Self::MembershipSuspended,
        Self::TooLow,
        Self::ConfinedHere,
        Self::OtherSite,
        Self::OtherClient,
        Self::OtherPartner,
        Self::PlatformAdmin,
    ];

    /// What this principal is to be answered on a route; `None` where the route is open to it as well.
    pub fn expected(self, route: &Route) -> Option<Refusal> {
        use Principal::*;
        use Refusal::{Csrf, Forbidden, NotFound, Unauthenticated};
        match (self, route.needs) {
            (_, Needs::Nothing) => None,
            (
                Anonymous | Garbage | ExpiredSession | RevokedSession | ApiTokenAsCookie | CookieAsBearer
                | AgentCredential | EnrollmentKey | SetupToken | InvitationToken | LiveTicket
                | InvitedNotAccepted | Suspended,
                _,
            ) => Some(Unauthenticated),
            (CookieWithoutCsrf, _) => route.changes().then_some(Csrf),
            // Anyone signed in has an account; another's session is as unknown as any.
            (_, Needs::SignedIn) => (route.object != Object::None).then_some(NotFound),
            (PlatformAdmin, Needs::PlatformAdmin) => None,
            (_, Needs::PlatformAdmin) => Some(Forbidden),
            (MembershipSuspended | PlatformAdmin, _) => Some(Forbidden),
            (TooLow, Needs::Member(role) | Needs::Unconfined(role)) => {
                (role != "read_only").then_some(Forbidden)
            }
            (ConfinedHere | OtherSite | OtherClient, Needs::Unconfined(_)) => Some(Forbidden),
            (ConfinedHere, Needs::Member(_)) => match route.object {
                // It is another tech's; an admin ends those of others.
                Object::Tunnel if route.needs == Needs::Member("tech") => Some(Forbidden),
                _ => None,
            },
            // A client's name shows to whoever sees one of its sites.
            (OtherSite, Needs::Member(_)) if route.object == Object::Client => None,
            // The partner's policy holds for everyone in it.
            (OtherSite | OtherClient, Needs::Member(_)) if route.object == Object::Partner => None,
            (OtherSite | OtherClient | OtherPartner, _) => match route.object {
                Object::None => None,
                _ => Some(NotFound),
            },
        }
    }

    /// The principal's client.
    pub async fn client(self, fixture: &mut Fixture, route: &Route) -> ApiClient {
        let server = &fixture.server;
        let anonymous = server.anonymous();
        let right = route.right_person();
        match self {
            Self::Anonymous => anonymous,
            Self::Garbage => anonymous.with_bearer(&random_token(SESSION_PREFIX)),
            Self::ExpiredSession | Self::RevokedSession => {
                let session = server.session_of(&right, SessionKind::Api).await;
                let end = match self {
                    Self::ExpiredSession => {
                        "UPDATE sessions SET expires_at = now() - interval '1 second' WHERE id = $1"
                    }
                    _ => "UPDATE sessions SET revoked_at = now() WHERE id = $1",
                };
                sqlx::query(end).bind(session.id).execute(&mut fixture.owner).await.unwrap();
                anonymous.with_bearer(&session.token)
            }
            Self::ApiTokenAsCookie => {
                let session = server.session_of(&right, SessionKind::Api).await;
                server.browser_with(&session)
            }
            Self::CookieAsBearer => {
                let session = server.session_of(&right, SessionKind::Dashboard).await;
                anonymous.with_bearer(&session.token)
            }
            Self::CookieWithoutCsrf => {
                let mut session = server.session_of(&right, SessionKind::Dashboard).await;
                session.csrf_token = String::new();
                server.browser_with(&session)
            }
            Self::AgentCredential => {
                anonymous.with_bearer(&fixture.agent.key).with(AGENT_HEADER, &fixture.agent.id.to_string())
            }
            Self::EnrollmentKey => anonymous.with_bearer(&fixture.enrollment_secret),
            Self::SetupToken => {
                let token = random_token("gsu_");
                let digest = server.app().keys.digest(Purpose::SetupToken, &token);
                sqlx::query(
                    "INSERT INTO setup_tokens (token_digest, expires_at) VALUES ($1, now() + interval '1 hour')
                     ON CONFLICT (only_one) DO UPDATE SET token_digest = excluded.token_digest",
                )
                .bind(digest.as_slice())
                .execute(&mut fixture.owner)
                .await
                .unwrap();
                anonymous.with_bearer(&token)
            }
            Self::InvitationToken => {
                let token = random_token("giv_");
                let digest = server.app().keys.digest(Purpose::InvitationToken, &token);
                sqlx::query(
                    "INSERT INTO invitations (id, tenant_id, user_id, token_digest, expires_at)
                     VALUES ($1, $2, $3, $4, now() + interval '1 hour')",
                )
                .bind(Uuid::now_v7())
                .bind(acme::PARTNER.id)
                .bind(acme::INVITED.id)
                .bind(digest.as_slice())
                .execute(&mut fixture.owner)
                .await
                .unwrap();
                anonymous.with_bearer(&token)
            }
            Self::LiveTicket => {
                let (session, ticket) =
                    (server.session_of(&right, SessionKind::Dashboard).await, random_token("glt_"));
                let digest = server.app().keys.digest(Purpose::LiveTicket, &ticket);
                sqlx::query(
                    "INSERT INTO live_tickets (token_digest, session_id, expires_at)
                     VALUES ($1, $2, now() + interval '1 hour')",
                )
                .bind(digest.as_slice())
                .bind(session.id)
                .execute(&mut fixture.owner)
                .await
                .unwrap();
                anonymous.with_bearer(&ticket)
            }
            Self::InvitedNotAccepted => server.client_as(&acme::INVITED).await,
            Self::Suspended => server.client_as(&acme::SUSPENDED).await,
            Self::MembershipSuspended => {
                let client = server.client_as(&acme::ALPHA_ADMIN).await;
                sqlx::query("UPDATE memberships SET status = 'suspended' WHERE user_id = $1")
                    .bind(acme::ALPHA_ADMIN.id)
                    .execute(&mut fixture.owner)
                    .await
                    .unwrap();
                client
            }
            Self::TooLow => server.client_as(&route.person_below()).await,
            Self::ConfinedHere => server.client_as(&confined_here(route)).await,
            Self::OtherSite => server.client_as(&confined(route, acme::LAB_ADMIN, acme::LAB_TECH)).await,
            Self::OtherClient => server.client_as(&confined(route, acme::BETA_ADMIN, acme::BETA_TECH)).await,
            Self::OtherPartner => server.client_as(&globex::OWNER).await,
            Self::PlatformAdmin => server.client_as(&world::PLATFORM_ADMIN).await,
        }
    }
}

/// How a call is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Unauthenticated,
    Forbidden,
    Csrf,
    NotFound,
}

impl Refusal {
    /// Status and the codes that may come with it.
    pub fn answer(self) -> (u16, &'static [&'static str]) {
        match self {
            Self::Unauthenticated => (401, &["UNAUTHENTICATED"]),
            Self::Forbidden => (403, &["FORBIDDEN", "NO_PARTNER"]),
            Self::Csrf => (403, &["CSRF_FAILED"]),
            Self::NotFound => (404, &["NOT_FOUND"]),
        }
    }
}

fn confined_here(route: &Route) -> Person {
    match route.needs {
        Needs::Member("read_only") => acme::HQ_READER,
        // The one admin confined to Alpha has her membership suspended at times.
        Needs::Member("tech") => acme::ALPHA_TECH,
        _ => acme::HQ_ADMIN,
    }
}

fn confined(route: &Route, admin: Person, tech: Person) -> Person {
    match route.needs {
        Needs::Member("tech" | "read_only") => tech,
        _ => admin,
    }
}
