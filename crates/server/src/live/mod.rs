//! Browsers' sockets: one per page. The server says what to fetch again (kind and id), and streams what is on the
//! screen. Knows no feature: what a topic means stands in `live_router`.

pub mod http;
mod invalidations;
mod socket;

use crate::app::App;
use crate::auth::Scope;
use crate::auth::credential::Admitted;
use crate::auth::permission::OwnAccount;
use crate::error::{Code, Error};
use crate::keys::{Purpose, random_token};
use chrono::TimeDelta;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa::ToSchema;
use uuid::Uuid;

/// Sockets one session may have open: tabs of one browser.
const SOCKETS_PER_SESSION: usize = 16;
const TICKET_LIFETIME: TimeDelta = TimeDelta::seconds(30);
const TICKET_PREFIX: &str = "glt_";

/// How long things may take.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How often a session is looked up again, beside being told of its end.
    pub recheck: Duration,
    /// How often a quiet socket is pinged.
    pub ping: Duration,
    /// A socket that is silent this long is lost.
    pub silence: Duration,
    /// A frame that cannot be written within this time goes to someone who does not read.
    pub write_within: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            recheck: Duration::from_secs(60),
            ping: Duration::from_secs(25),
            silence: Duration::from_secs(75),
            write_within: Duration::from_secs(20),
        }
    }
}

/// The browsers' sockets of this server.
pub struct Live {
    settings: Settings,
    seats: Arc<Mutex<HashMap<Uuid, usize>>>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

/// Lets a browser's WebSocket in, once.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ticket {
    pub ticket: String,
    pub expires_in_seconds: i64,
}

/// Makes a ticket for the caller's session.
pub async fn ticket(app: &App, scope: &Scope<OwnAccount>) -> Result<Ticket, Error> {
    let ticket = random_token(TICKET_PREFIX);
    let digest = app.keys.digest(Purpose::LiveTicket, &ticket);
    app.db.put_live_ticket(scope, &digest, TICKET_LIFETIME).await?;
    Ok(Ticket { ticket: ticket.to_string(), expires_in_seconds: TICKET_LIFETIME.num_seconds() })
}

/// The session behind a ticket with this digest, which is used up by this.
async fn session_of_ticket(app: &App, digest: &[u8]) -> Result<Admitted, Error> {
    match app.db.take_live_ticket(digest).await? {
        Some((token_digest, session)) => Ok(Admitted { token_digest, session }),
        None => Err(Error::new(Code::Unauthenticated)),
    }
}

impl Live {
    /// Nobody looks yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            seats: Arc::default(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        }
    }

    /// How many sockets are open.
    pub fn open_sockets(&self) -> usize {
        lock(&self.seats).values().sum()
    }

    /// Closes all sockets; waits for it `within` at most.
    pub async fn stop(&self, within: Duration) {
        self.stopping.cancel();
        self.tasks.close();
        if tokio::time::timeout(within, self.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "some browsers' sockets did not close in time");
        }
    }

    /// A place for one more socket of a session; 429 when it has enough.
    fn seat(&self, session_id: Uuid) -> Result<Seat, Error> {
        let mut seats = lock(&self.seats);
        let taken = seats.entry(session_id).or_default();
        if *taken >= SOCKETS_PER_SESSION {
            return Err(Error::with_detail(Code::RateLimited, "too many open pages"));
        }
        *taken += 1;
        Ok(Seat { seats: Arc::clone(&self.seats), session_id })
    }
}

/// A socket's place, given back when it is dropped.
struct Seat {
    seats: Arc<Mutex<HashMap<Uuid, usize>>>,
    session_id: Uuid,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = lock(&self.seats);
        if let Some(taken) = seats.get_mut(&self.session_id) {
            *taken -= 1;
            if *taken == 0 {
                seats.remove(&self.session_id);
            }
        }
    }
}

fn lock(seats: &Mutex<HashMap<Uuid, usize>>) -> MutexGuard<'_, HashMap<Uuid, usize>> {
    seats.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_a_bounded_number_of_sockets_and_gets_its_places_back() {
        let (live, session) = (Live::new(Settings::default()), Uuid::now_v7());
        let mut seats: Vec<Seat> = (0..SOCKETS_PER_SESSION).map(|_| live.seat(session).unwrap()).collect();
        assert!(live.seat(session).is_err());
        assert!(live.seat(Uuid::now_v7()).is_ok(), "another session has its own");
        seats.pop();
        assert!(live.seat(session).is_ok());
        drop(seats);
        assert_eq!(live.open_sockets(), 0);
    }
}
