//! Brakes on guessing: by real peer address in memory, by account in the database.

use crate::app::App;
use crate::error::{Code, Error};
use crate::http::RequestInfo;
use crate::keys::Purpose;
use chrono::{DateTime, TimeDelta, Utc};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use uuid::Uuid;

/// Failed sign-ins to an account within [`FAILURE_WINDOW`] before it is locked.
const MAX_FAILURES: i32 = 10;
const FAILURE_WINDOW: TimeDelta = TimeDelta::minutes(15);
/// The first lock; each further one lasts twice as long, at most a day.
const FIRST_LOCK: TimeDelta = TimeDelta::minutes(15);
/// Keys remembered by one limit. Beyond it those that are quiet are forgotten, then newcomers wait.
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
pub struct Limit<K: Clone + Hash + Eq> {
    limiter: DefaultKeyedRateLimiter<K>,
}

/// A limit by peer address.
pub type PeerLimit = Limit<IpNet>;

impl<K: Clone + Hash + Eq> Limit<K> {
    /// A limit of `most` requests a minute; at least one.
    pub fn per_minute(most: u32) -> Self {
        Self { limiter: RateLimiter::keyed(Quota::per_minute(at_least_one(most))) }
    }

    /// `burst` requests, then one a minute.
    pub fn once_a_minute_after(burst: u32) -> Self {
        let quota = Quota::per_minute(NonZeroU32::MIN).allow_burst(at_least_one(burst));
        Self { limiter: RateLimiter::keyed(quota) }
    }

    /// Counts a request of this key.
    ///
    /// # Errors
    /// `RATE_LIMITED` with the time to wait.
    pub fn check_key(&self, key: &K) -> Result<(), Error> {
        if self.limiter.len() >= MAX_KEYS {
            self.limiter.retain_recent();
            if self.limiter.len() >= MAX_KEYS {
                return Err(Error::retry_after(Code::RateLimited, 60));
            }
        }
        self.limiter.check_key(key).map_err(|refused| {
            let wait = refused.wait_time_from(DefaultClock::default().now());
            Error::retry_after(Code::RateLimited, wait.as_secs() + 1)
        })
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

fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
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
    fn one_customers_ipv6_network_is_one_peer() {
        let network = |ip: &str| network_of(Some(ip.parse().unwrap()));
        assert_eq!(network("2001:db8:1:2::a"), network("2001:db8:1:2:ffff::b"));
        assert_ne!(network("2001:db8:1:2::a"), network("2001:db8:1:3::a"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
    }
}
