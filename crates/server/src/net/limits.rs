//! How many connections there may be, and how long one may take to show who it is.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Limits of a listener. Nothing that is not authenticated can take more than these allow.
#[derive(Debug, Clone)]
pub struct Limits {
    /// All connections together; the listener lowers it to what the system's limit of open files allows.
    pub connections: usize,
    /// Connections that have not authenticated. When all these places are taken, who comes gets that of the oldest, once
    /// it has had [`Limits::fair_chance`].
    pub unauthenticated: usize,
    /// The same for one address (IPv6: one /64). Trusted proxies are exempt, since they speak for many.
    pub unauthenticated_per_peer: usize,
    /// From the connection's start to the end of the TLS handshake.
    pub handshake: Duration,
    /// From the connection's start to the end of the first request's headers, and for each further request.
    pub header: Duration,
    /// How long nobody has to give way: enough to shake hands and to say who one is. Without it a crowd of honest agents
    /// that come back together would only push each other out.
    pub fair_chance: Duration,
    /// How long a connection that never authenticates may live; the request it is in is finished.
    pub unauthenticated_age: Duration,
    /// Headers and request line of one request.
    pub header_bytes: usize,
    /// How long open requests and sockets have to end when the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 100_000,
            unauthenticated: 1024,
            unauthenticated_per_peer: 256,
            handshake: Duration::from_secs(5),
            header: Duration::from_secs(8),
            fair_chance: Duration::from_secs(3),
            unauthenticated_age: Duration::from_secs(60),
            header_bytes: 32 * 1024,
            drain: Duration::from_secs(10),
        }
    }
}

/// Connections that agents leave to others, at most: to strangers, among whom everyone is at first, and to people.
const KEPT_FOR_PEOPLE: usize = 2_048;

impl Limits {
    /// The same where the system allows so many connections. Strangers cannot take all that agents leave.
    pub fn within(self, connections: usize) -> Self {
        let connections = self.connections.min(connections);
        let unauthenticated = self.unauthenticated.min((kept_for_people(connections) / 2).max(1));
        Self { connections, unauthenticated, ..self }
    }

    /// How many of the connections agents may take. What is left lets people in when all agents are there.
    pub fn room_for_agents(&self) -> usize {
        self.connections - kept_for_people(self.connections)
    }
}

/// Of so many connections; a quarter of few.
fn kept_for_people(connections: usize) -> usize {
    (connections / 4).min(KEPT_FOR_PEOPLE)
}

/// A request extension by which whoever authenticates a request frees its connection from the limits for strangers.
#[derive(Debug, Clone)]
pub struct ConnectionTicket(Weak<Admission>);

impl ConnectionTicket {
    pub(super) fn of(admission: &Arc<Admission>) -> Self {
        Self(Arc::downgrade(admission))
    }

    /// The connection belongs to someone known. Calling it again changes nothing.
    pub fn authenticated(&self) {
        if let Some(admission) = self.0.upgrade() {
            admission.authenticate();
        }
    }
}

/// How many connections there are, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    pub open: usize,
    pub unauthenticated: usize,
    /// Turned away since the start.
    pub refused: u64,
}

/// Reads a listener's [`ConnectionCounts`] while it runs.
#[derive(Debug, Clone)]
pub struct ConnectionGauge(pub(super) Arc<Budget>);

impl ConnectionGauge {
    pub fn counts(&self) -> ConnectionCounts {
        self.0.lock().counts
    }
}

#[derive(Debug)]
pub(super) struct Budget {
    connections: usize,
    unauthenticated: usize,
    unauthenticated_per_peer: usize,
    fair_chance: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    counts: ConnectionCounts,
    peers: HashMap<IpAddr, usize>,
    /// Those who have not authenticated, by the order in which they came.
    strangers: BTreeMap<u64, Stranger>,
    next: u64,
}

#[derive(Debug)]
struct Stranger {
    since: Instant,
    leave: Arc<Notify>,
}

impl Budget {
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            connections: limits.connections,
            unauthenticated: limits.unauthenticated,
            unauthenticated_per_peer: limits.unauthenticated_per_peer,
            fair_chance: limits.fair_chance,
            state: Mutex::default(),
        })
    }

    /// Room for one more connection, or `None`. `peer` is `None` for those who are not counted by address.
    pub fn admit(self: &Arc<Self>, peer: Option<IpAddr>, now: Instant) -> Option<Arc<Admission>> {
        let peer = peer.map(peer_key);
        let mut state = self.lock();
        let of_peer = peer.and_then(|peer| state.peers.get(&peer).copied()).unwrap_or(0);
        if state.counts.open >= self.connections
            || of_peer >= self.unauthenticated_per_peer
            || !self.makes_room(&mut state, now)
        {
            state.counts.refused += 1;
            return None;
        }
        state.counts.open += 1;
        state.counts.unauthenticated += 1;
        if let Some(peer) = peer {
            state.peers.insert(peer, of_peer + 1);
        }
        let (number, leave) = (state.next, Arc::new(Notify::new()));
        state.next += 1;
        state.strangers.insert(number, Stranger { since: now, leave: Arc::clone(&leave) });
        let is_authenticated = AtomicBool::new(false);
        Some(Arc::new(Admission { budget: Arc::clone(self), peer, number, leave, is_authenticated }))
    }

    /// Whether there is a place for a stranger, if need be the oldest one's. Its connection is counted until it is gone:
    /// few may be on their way out at a time.
    fn makes_room(&self, state: &mut State, now: Instant) -> bool {
        if state.counts.unauthenticated < self.unauthenticated {
            return true;
        }
        if state.counts.unauthenticated >= self.unauthenticated + (self.unauthenticated / 8).max(1) {
            return false;
        }
        let Some(oldest) = state.strangers.first_entry() else { return false };
        if now.saturating_duration_since(oldest.get().since) < self.fair_chance {
            return false;
        }
        oldest.remove().leave.notify_one();
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place in the budget, given back with the connection.
#[derive(Debug)]
pub(super) struct Admission {
    budget: Arc<Budget>,
    peer: Option<IpAddr>,
    number: u64,
    leave: Arc<Notify>,
    is_authenticated: AtomicBool,
}

impl Admission {
    /// Notified when this connection has to give way to another one.
    pub fn leave(&self) -> Arc<Notify> {
        Arc::clone(&self.leave)
    }

    pub fn is_authenticated(&self) -> bool {
        self.is_authenticated.load(Ordering::Acquire)
    }

    fn authenticate(&self) {
        if !self.is_authenticated.swap(true, Ordering::AcqRel) {
            self.release_stranger(&mut self.budget.lock());
        }
    }

    fn release_stranger(&self, state: &mut State) {
        state.counts.unauthenticated = state.counts.unauthenticated.saturating_sub(1);
        state.strangers.remove(&self.number);
        let Some(peer) = self.peer else { return };
        if let Some(of_peer) = state.peers.get_mut(&peer) {
            *of_peer = of_peer.saturating_sub(1);
            if *of_peer == 0 {
                state.peers.remove(&peer);
            }
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        if !self.is_authenticated() {
            self.release_stranger(&mut state);
        }
        state.counts.open = state.counts.open.saturating_sub(1);
    }
}

/// Whoever has one IPv6 address has its /64.
fn peer_key(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(peer) => IpAddr::V4(peer),
        IpAddr::V6(peer) => {
            let [a, b, c, d, ..] = peer.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(connections: usize, unauthenticated: usize, unauthenticated_per_peer: usize) -> Arc<Budget> {
        Budget::new(&Limits { connections, unauthenticated, unauthenticated_per_peer, ..Limits::default() })
    }

    fn admit(budget: &Arc<Budget>, peer: &str) -> Option<Arc<Admission>> {
        admit_at(budget, peer, Instant::now())
    }

    fn admit_at(budget: &Arc<Budget>, peer: &str, now: Instant) -> Option<Arc<Admission>> {
        budget.admit(Some(peer.parse().unwrap()), now)
    }

    fn has_to_leave(admission: &Admission) -> bool {
        use futures_util::FutureExt as _;
        admission.leave.notified().now_or_never().is_some()
    }

    #[test]
    fn agents_leave_connections_to_people_of_which_strangers_get_half() {
        let within = |connections| {
            let limits = Limits::default().within(connections);
            (limits.room_for_agents(), limits.unauthenticated)
        };
        assert_eq!(within(400), (300, 50));
        assert_eq!(within(19_744), (17_696, 1_024));
        assert_eq!(within(1_000_000), (100_000 - 2_048, 1_024));
    }

    #[test]
    fn one_address_cannot_take_all_places() {
        let budget = budget(100, 100, 2);
        let first = admit(&budget, "192.0.2.1");
        let _second = admit(&budget, "::ffff:192.0.2.1").unwrap();
        assert!(admit(&budget, "192.0.2.1").is_none());
        assert!(admit(&budget, "192.0.2.2").is_some());
        drop(first);
        assert!(admit(&budget, "192.0.2.1").is_some());
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let budget = budget(100, 100, 1);
        let _first = admit(&budget, "2001:db8::1").unwrap();
        assert!(admit(&budget, "2001:db8::2").is_none());
        assert!(admit(&budget, "2001:db8:0:1::2").is_some());
    }

    #[test]
    fn a_proxy_is_not_counted_by_address() {
        let budget = budget(100, 3, 1);
        let held: Vec<_> = (0..3).map(|_| budget.admit(None, Instant::now()).unwrap()).collect();
        assert!(budget.admit(None, Instant::now()).is_none());
        drop(held);
        assert_eq!(budget.lock().counts, ConnectionCounts { open: 0, unauthenticated: 0, refused: 1 });
    }

    #[test]
    fn the_oldest_stranger_gives_way_once_it_has_had_its_chance() {
        let budget = budget(100, 2, 100);
        let start = Instant::now();
        let later = start + Limits::default().fair_chance;
        let known = admit_at(&budget, "192.0.2.1", start).unwrap();
        ConnectionTicket::of(&known).authenticated();
        let oldest = admit_at(&budget, "192.0.2.2", start).unwrap();
        let second = admit_at(&budget, "192.0.2.3", start + Duration::from_secs(1)).unwrap();
        assert!(admit_at(&budget, "192.0.2.4", later - Duration::from_millis(1)).is_none(), "too early");
        let newcomer = admit_at(&budget, "192.0.2.4", later).unwrap();
        assert!(has_to_leave(&oldest));
        assert!(!has_to_leave(&known) && !has_to_leave(&second) && !has_to_leave(&newcomer));
        let much_later = later + Duration::from_secs(60);
        assert!(admit_at(&budget, "192.0.2.5", much_later).is_none(), "the one who leaves is not gone yet");
        drop(oldest);
        assert!(admit_at(&budget, "192.0.2.5", much_later).is_some());
        assert!(has_to_leave(&second));
    }

    #[test]
    fn who_authenticates_makes_room_once() {
        let budget = budget(3, 1, 1);
        let first = admit(&budget, "192.0.2.1").unwrap();
        let ticket = ConnectionTicket::of(&first);
        ticket.authenticated();
        ticket.authenticated();
        let second = admit(&budget, "192.0.2.1").unwrap();
        assert!(admit(&budget, "192.0.2.2").is_none());
        ConnectionTicket::of(&second).authenticated();
        let _third = admit(&budget, "192.0.2.3").unwrap();
        assert!(admit(&budget, "192.0.2.4").is_none(), "all connections together are limited too");
        drop(first);
        ticket.authenticated();
        assert_eq!(budget.lock().counts, ConnectionCounts { open: 2, unauthenticated: 1, refused: 2 });
        drop(second);
        assert_eq!(budget.lock().peers.len(), 1);
    }
}
