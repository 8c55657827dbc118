//! How many connections there may be, and how long one may take to show who it is.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// Limits of a listener. Nothing that is not authenticated can take more than these allow.
#[derive(Debug, Clone)]
pub struct Limits {
    /// All connections together; the listener lowers it to what the system's limit of open files allows.
    pub connections: usize,
    /// Connections that have not authenticated.
    pub unauthenticated: usize,
    /// The same for one address (IPv6: one /64). Trusted proxies are exempt, since they speak for many.
    pub unauthenticated_per_peer: usize,
    /// From the connection's start to the end of the TLS handshake.
    pub handshake: Duration,
    /// From the connection's start to the end of the first request's headers, and for each further request.
    pub header: Duration,
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
            unauthenticated: 2048,
            unauthenticated_per_peer: 256,
            handshake: Duration::from_secs(5),
            header: Duration::from_secs(10),
            unauthenticated_age: Duration::from_secs(60),
            header_bytes: 32 * 1024,
            drain: Duration::from_secs(10),
        }
    }
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
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    counts: ConnectionCounts,
    peers: HashMap<IpAddr, usize>,
}

impl Budget {
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            connections: limits.connections,
            unauthenticated: limits.unauthenticated,
            unauthenticated_per_peer: limits.unauthenticated_per_peer,
            state: Mutex::default(),
        })
    }

    /// Room for one more connection, or `None`. `peer` is `None` for those who are not counted by address.
    pub fn admit(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Arc<Admission>> {
        let peer = peer.map(peer_key);
        let mut state = self.lock();
        let of_peer = peer.and_then(|peer| state.peers.get(&peer).copied()).unwrap_or(0);
        if state.counts.open >= self.connections
            || state.counts.unauthenticated >= self.unauthenticated
            || of_peer >= self.unauthenticated_per_peer
        {
            state.counts.refused += 1;
            return None;
        }
        state.counts.open += 1;
        state.counts.unauthenticated += 1;
        if let Some(peer) = peer {
            state.peers.insert(peer, of_peer + 1);
        }
        Some(Arc::new(Admission { budget: Arc::clone(self), peer, is_authenticated: AtomicBool::new(false) }))
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
    is_authenticated: AtomicBool,
}

impl Admission {
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
        budget.admit(Some(peer.parse().unwrap()))
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
        let held: Vec<_> = (0..3).map(|_| budget.admit(None).unwrap()).collect();
        assert!(budget.admit(None).is_none());
        drop(held);
        assert_eq!(budget.lock().counts, ConnectionCounts { open: 0, unauthenticated: 0, refused: 1 });
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
