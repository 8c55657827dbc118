//! Frames that wait for a peer, in two lanes: what somebody waits for goes before parts of transfers. Frames of one channel
//! never overtake each other. Who puts them in never waits here: how much may be under way is bounded by the credit of their
//! channels, and here by a limit that an honest peer does not reach.

use bytes::Bytes;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What a frame costs beside its own bytes.
const OVERHEAD_BYTES: usize = 64;

/// The queue. `K` tells channels apart.
#[derive(Debug)]
pub struct Lanes<K> {
    inner: Mutex<Inner<K>>,
    limit: usize,
    came: Notify,
    went: Notify,
}

#[derive(Debug)]
struct Inner<K> {
    first: VecDeque<(K, Bytes)>,
    bulk: VecDeque<(K, Bytes)>,
    /// How many frames of a channel wait in the second lane: what follows on it goes behind them.
    in_bulk: HashMap<K, usize>,
    bytes: usize,
    is_closed: bool,
}

/// There is more than may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more waits than may")]
pub struct Full;

impl<K: Copy + Eq + Hash> Lanes<K> {
    /// With room for so many bytes.
    pub fn new(limit: usize) -> Self {
        let inner = Inner {
            first: VecDeque::new(),
            bulk: VecDeque::new(),
            in_bulk: HashMap::new(),
            bytes: 0,
            is_closed: false,
        };
        Self { inner: Mutex::new(inner), limit, came: Notify::new(), went: Notify::new() }
    }

    /// Puts a frame in. One for a queue that is closed is thrown away.
    pub fn push(&self, channel: K, is_bulk: bool, frame: Bytes) -> Result<(), Full> {
        let mut inner = self.lock();
        if inner.is_closed {
            return Ok(());
        }
        let cost = frame.len() + OVERHEAD_BYTES;
        if inner.bytes + cost > self.limit {
            return Err(Full);
        }
        inner.bytes += cost;
        if is_bulk || inner.in_bulk.contains_key(&channel) {
            *inner.in_bulk.entry(channel).or_default() += 1;
            inner.bulk.push_back((channel, frame));
        } else {
            inner.first.push_back((channel, frame));
        }
        drop(inner);
        self.came.notify_one();
        Ok(())
    }

    /// The next frame; `None` once it is closed and nothing waits any more. For one task only; cancel safe.
    pub async fn pop(&self) -> Option<(K, Bytes)> {
        loop {
            {
                let mut inner = self.lock();
                if let Some(frame) = inner.take() {
                    drop(inner);
                    self.went.notify_waiters();
                    return Some(frame);
                }
                if inner.is_closed {
                    return None;
                }
            }
            self.came.notified().await;
        }
    }

    /// Waits until less than half of what may wait does. Cancel safe.
    pub async fn room(&self) {
        loop {
            let mut went = pin!(self.went.notified());
            went.as_mut().enable();
            {
                let inner = self.lock();
                if inner.bytes < self.limit / 2 || inner.is_closed {
                    return;
                }
            }
            went.await;
        }
    }

    /// Throws away what waits of other channels than these.
    pub fn retain(&self, keep: impl Fn(K) -> bool) {
        let mut inner = self.lock();
        let Inner { first, bulk, in_bulk, bytes, .. } = &mut *inner;
        first.retain(|(channel, _)| keep(*channel));
        bulk.retain(|(channel, _)| keep(*channel));
        in_bulk.retain(|channel, _| keep(*channel));
        *bytes = first.iter().chain(&*bulk).map(|(_, frame)| frame.len() + OVERHEAD_BYTES).sum();
        drop(inner);
        self.went.notify_waiters();
    }

    /// Nothing more goes in; what waits still comes out.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.came.notify_one();
        self.went.notify_waiters();
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Every change is whole before anything can fail.
    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash> Inner<K> {
    fn take(&mut self) -> Option<(K, Bytes)> {
        let taken = match self.first.pop_front() {
            Some(taken) => taken,
            None => {
                let taken = self.bulk.pop_front()?;
                if let Entry::Occupied(mut waiting) = self.in_bulk.entry(taken.0) {
                    *waiting.get_mut() -= 1;
                    if *waiting.get() == 0 {
                        waiting.remove();
                    }
                }
                taken
            }
        };
        self.bytes -= taken.1.len() + OVERHEAD_BYTES;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::collections::HashSet;

    fn all(lanes: &Lanes<u32>) -> Vec<(u32, Bytes)> {
        std::iter::from_fn(|| lanes.pop().now_or_never().flatten()).collect()
    }

    #[test]
    fn what_somebody_waits_for_overtakes_transfers_and_no_channel_overtakes_itself() {
        let lanes = Lanes::new(10_000);
        for (channel, is_bulk, text) in [
            (1, true, "part 1"),
            (1, true, "part 2"),
            (2, false, "key"),
            (1, false, "end"),
            (3, true, "part"),
            (2, false, "key"),
        ] {
            lanes.push(channel, is_bulk, Bytes::from_static(text.as_bytes())).unwrap();
        }
        let order: Vec<_> =
            all(&lanes).into_iter().map(|(channel, text)| format!("{channel} {}", text.len())).collect();
        assert_eq!(order, ["2 3", "2 3", "1 6", "1 6", "1 3", "3 4"]);
        lanes.push(1, false, Bytes::from_static(b"again")).unwrap();
        lanes.push(3, true, Bytes::from_static(b"part")).unwrap();
        assert_eq!(all(&lanes).first().map(|(channel, _)| *channel), Some(1), "nothing of it waits any more");
        assert_eq!(lanes.bytes(), 0);
    }

    #[test]
    fn more_than_may_wait_does_not_and_what_is_thrown_away_makes_room() {
        let lanes = Lanes::new(1_000);
        let frame = Bytes::from(vec![0; 236]);
        for channel in 0..3 {
            assert_eq!(lanes.push(channel, channel == 1, frame.clone()), Ok(()));
        }
        assert_eq!(lanes.push(3, false, frame.clone()), Err(Full));
        assert!(lanes.room().now_or_never().is_none());
        let kept = HashSet::from([1]);
        lanes.retain(|channel| kept.contains(&channel));
        assert!(lanes.room().now_or_never().is_some());
        assert_eq!(lanes.push(1, false, frame.clone()), Ok(()));
        assert_eq!(all(&lanes).len(), 2);
    }

    #[tokio::test]
    async fn a_closed_queue_gives_what_waits_and_then_ends() {
        let lanes = Lanes::new(1_000);
        lanes.push(1, false, Bytes::from_static(b"last")).unwrap();
        lanes.close();
        lanes.push(1, false, Bytes::from_static(b"too late")).unwrap();
        assert_eq!(lanes.pop().await, Some((1, Bytes::from_static(b"last"))));
        assert_eq!(lanes.pop().await, None);
    }
}
