//! Brakes on guessing: by real peer address in memory, by account in the database.

use crate::app::App;
use crate::error::{Code, Error};
use crate::http::RequestInfo;
use crate::keys::Purpose;
use chrono::{DateTime, TimeDelta, Utc};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Failed sign-ins to an account within [`FAILURE_WINDOW`] before it is locked.
const MAX_FAILURES: i32 = 10;
const FAILURE_WINDOW: TimeDelta = TimeDelta::minutes(15);
/// The first lock; each further one lasts twice as long, at most a day.
const FIRST_LOCK: TimeDelta = TimeDelta::minutes(15);
/// Keys remembered by one limit. Beyond it those are forgotten that have most of their share left: whoever comes from
/// ever new addresses must not keep others out, nor have a busy one forgotten first.
const MAX_KEYS: usize = 50_000;

/// The limits of the public routes.
pub struct PublicLimits {
    /// Sign-in and registration.
    pub sign_in: PeerLimit,
    /// Links with a one-time token: setup and invitations.
    pub one_time_link: PeerLimit,
    /// Enrollment: a whole office behind one address may be installed at once.
    pub enroll: PeerLimit,
    /// Enrollment, by the site code that is named.
    pub enroll_site: Limit<[u8; 32]>,
    /// Enrollment, by the machine that asks: once a minute, with a few in a row for installers that try again.
    pub enroll_machine: Limit<[u8; 32]>,
    /// Agents that ask before they connect: after an outage all of a large network does so at once.
    pub hello: PeerLimit,
    /// Reports of installers that failed.
    pub install_report: PeerLimit,
    /// The same, by site: what is beyond it is dropped.
    pub install_report_site: Limit<[u8; 32]>,
}

impl Default for PublicLimits {
    fn default() -> Self {
        Self {
            sign_in: PeerLimit::per_minute(30),
            one_time_link: PeerLimit::per_minute(30),
            enroll: PeerLimit::per_minute(100),
            enroll_site: Limit::per_minute(600),
            enroll_machine: Limit::once_a_minute_after(5),
            hello: PeerLimit::per_minute(6_000),
            install_report: PeerLimit::per_minute(20),
            install_report_site: Limit::per_minute(60),
        }
    }
}

/// So many requests a minute for one key, all of them at once if it likes. Holds a bounded number of keys.
pub struct Limit<K> {
    /// Time in which one request's worth is regained.
    every: Duration,
    /// Time in which all of it is.
    whole: Duration,
    /// When a key's share is whole again (the virtual scheduling algorithm of ITU-T I.371).
    whole_at: Mutex<HashMap<K, Instant>>,
}

/// A limit by peer address.
pub type PeerLimit = Limit<IpNet>;

impl<K: Clone + Hash + Eq> Limit<K> {
    /// A limit of `most` requests a minute; at least one.
    pub fn per_minute(most: u32) -> Self {
        Self::new(Duration::from_secs(60) / most.max(1), most)
    }

    /// `burst` requests, then one a minute.
    pub fn once_a_minute_after(burst: u32) -> Self {
        Self::new(Duration::from_secs(60), burst)
    }

    fn new(every: Duration, burst: u32) -> Self {
        Self { every, whole: every * burst.max(1), whole_at: Mutex::default() }
    }

    /// Counts a request of this key.
    ///
    /// # Errors
    /// `RATE_LIMITED` with the time to wait.
    pub fn check_key(&self, key: &K) -> Result<(), Error> {
        self.check_at(key, Instant::now())
    }

    /// How many keys it remembers.
    pub fn known(&self) -> usize {
        self.whole_at.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn check_at(&self, key: &K, now: Instant) -> Result<(), Error> {
        let mut whole_at = self.whole_at.lock().unwrap_or_else(PoisonError::into_inner);
        if whole_at.len() >= MAX_KEYS && !whole_at.contains_key(key) {
            forget_some(&mut whole_at, now);
        }
        let then = whole_at.get(key).map_or(now, |at| now.max(*at)) + self.every;
        match then.saturating_duration_since(now).checked_sub(self.whole) {
            Some(wait) if !wait.is_zero() => Err(Error::retry_after(Code::RateLimited, wait.as_secs() + 1)),
            _ => {
                whole_at.insert(key.clone(), then);
                Ok(())
            }
        }
    }
}

/// Makes room for a tenth more: forgets the keys whose share is whole, and if that is not enough those nearest to it.
fn forget_some<K>(whole_at: &mut HashMap<K, Instant>, now: Instant) {
    whole_at.retain(|_, at| *at > now);
    let room = MAX_KEYS / 10;
    if whole_at.len() + room > MAX_KEYS {
        let mut times: Vec<Instant> = whole_at.values().copied().collect();
        let (_, bound, _) = times.select_nth_unstable(room.min(whole_at.len() - 1));
        whole_at.retain(|_, at| *at > *bound);
    }
}

impl PeerLimit {
    /// Counts a request of its peer.
    ///
    /// # Errors
    /// `RATE_LIMITED` with the time to wait.
    pub fn check(&self, request: &RequestInfo) -> Result<(), Error> {
        self.check_key(&network_of(request.peer))
    }
}

/// What counts as one peer: an IPv4 address, or the /64 that one IPv6 customer has at least.
fn network_of(peer: Option<IpAddr>) -> IpNet {
    match peer.map(|ip| ip.to_canonical()) {
        Some(IpAddr::V6(ip)) => Ipv6Net::new_assert(ip, 64).trunc().into(),
        Some(IpAddr::V4(ip)) => Ipv4Net::from(ip).into(),
        None => Ipv4Net::from(Ipv4Addr::UNSPECIFIED).into(),
    }
}

/// The lock of one account. Named by the address that was typed, so that unknown accounts lock alike.
///
/// There is one for all the world, and one for each network that the person signed in from lately: whoever guesses
/// from elsewhere, from however many places, locks the world out and not the person at their own desk.
pub struct AccountLock {
    key: [u8; 32],
}

impl AccountLock {
    /// The lock that counts for a person (`None`: nobody has this address) who asks from there.
    pub async fn of(
        app: &App,
        email: &str,
        user_id: Option<Uuid>,
        request: &RequestInfo,
    ) -> Result<Self, Error> {
        let network = network_of(request.peer);
        // Asked for nobody, too: the answer takes as long.
        let is_known = app.db.knows_place(user_id.unwrap_or_default(), network).await?;
        Ok(if is_known {
            Self { key: key(app, email, &network.to_string()) }
        } else {
            Self::of_world(app, email)
        })
    }

    /// The lock that counts for someone who has a session and is asked once more.
    pub fn of_session(app: &App, email: &str) -> Self {
        Self { key: key(app, email, "session") }
    }

    /// The lock for all places where the person is not known.
    pub fn of_world(app: &App, email: &str) -> Self {
        Self { key: key(app, email, "") }
    }

    /// Under which digest failures are counted.
    pub fn key(&self) -> [u8; 32] {
        self.key
    }

    /// Refuses while the account is locked, whatever the password.
    ///
    /// # Errors
    /// `ACCOUNT_LOCKED` with the time to wait.
    pub async fn check(&self, app: &App) -> Result<(), Error> {
        match app.db.throttle_locked_until(&self.key).await? {
            Some(until) => Err(locked(until)),
            None => Ok(()),
        }
    }

    /// Counts a failure; answers whether it was the one that locked the account.
    pub async fn failed(&self, app: &App) -> Result<bool, Error> {
        let until = app.db.throttle_failure(&self.key, MAX_FAILURES, FAILURE_WINDOW, FIRST_LOCK).await?;
        Ok(until.is_some())
    }

    /// Forgets the failures after a success.
    pub async fn clear(&self, app: &App) -> Result<(), Error> {
        app.db.throttle_clear(&self.key).await
    }
}

fn key(app: &App, email: &str, place: &str) -> [u8; 32] {
    app.keys.digest(Purpose::Throttle, &format!("account:{}\n{place}", email.trim().to_lowercase()))
}

fn locked(until: DateTime<Utc>) -> Error {
    let seconds = (until - Utc::now()).num_seconds().max(1);
    Error::retry_after(Code::AccountLocked, seconds.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(ip: &str) -> RequestInfo {
        RequestInfo { peer: Some(ip.parse().unwrap()), ..RequestInfo::default() }
    }

    #[test]
    fn a_limit_holds_for_one_address_and_not_for_another() {
        let limit = PeerLimit::per_minute(2);
        assert!(limit.check(&from("192.0.2.1")).is_ok());
        assert!(limit.check(&from("192.0.2.1")).is_ok());
        assert_eq!(limit.check(&from("192.0.2.1")).unwrap_err().code(), Code::RateLimited);
        assert!(limit.check(&from("192.0.2.2")).is_ok());
    }

    #[test]
    fn a_burst_is_followed_by_one_a_minute() {
        let limit = Limit::once_a_minute_after(3);
        let allowed = (0..10).filter(|_| limit.check_key(&"machine").is_ok()).count();
        assert_eq!(allowed, 3);
    }

    #[test]
    fn what_was_used_comes_back_with_time() {
        let (limit, start) = (Limit::per_minute(2), Instant::now());
        let allowed = |seconds| limit.check_at(&"office", start + Duration::from_secs(seconds)).is_ok();
        assert_eq!([0, 0, 0, 29, 30, 31, 60].map(allowed), [true, true, false, false, true, false, true]);
    }

    #[test]
    fn any_number_of_strangers_keeps_nobody_out_and_hides_no_busy_one() {
        let (limit, now) = (Limit::once_a_minute_after(2), Instant::now());
        let busy = usize::MAX;
        assert!(limit.check_at(&busy, now).is_ok() && limit.check_at(&busy, now).is_ok());
        for stranger in 0..2 * MAX_KEYS {
            let now = now + Duration::from_nanos(stranger as u64);
            assert!(limit.check_at(&stranger, now).is_ok(), "{stranger}");
        }
        assert!(limit.whole_at.lock().unwrap().len() <= MAX_KEYS);
        assert_eq!(limit.check_at(&busy, now).unwrap_err().code(), Code::RateLimited);
    }

    #[test]
    fn one_customers_ipv6_network_is_one_peer() {
        let network = |ip: &str| network_of(Some(ip.parse().unwrap()));
        assert_eq!(network("2001:db8:1:2::a"), network("2001:db8:1:2:ffff::b"));
        assert_ne!(network("2001:db8:1:2::a"), network("2001:db8:1:3::a"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
    }
}
