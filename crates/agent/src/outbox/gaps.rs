//! What is to be said of samples that were lost.

use chrono::{DateTime, Utc};
use gururmm_protocol::GapId;
use gururmm_protocol::gap::{Gap, GapReason};

/// Gaps kept at most. Beyond it two neighbours become one: how many samples are missing stays exact.
const MAX_GAPS: usize = 64;

/// Gaps the server has not acknowledged, in the order in which they arose.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    held: Vec<Held>,
    /// Those that stand on disk and are over.
    forgotten: Vec<GapId>,
}

#[derive(Debug)]
struct Held {
    gap: Gap,
    /// Sent on this connection: it grows no more, since its acknowledgement may be on the way.
    is_sent: bool,
    /// Stands on disk as it is here.
    is_stored: bool,
    /// Is about to be written.
    is_saving: bool,
}

impl Gaps {
    /// What an earlier run left on disk.
    pub(super) fn restored(gaps: Vec<Gap>) -> Self {
        let held =
            gaps.into_iter().map(|gap| Held { gap, is_sent: false, is_stored: true, is_saving: false });
        Self { held: held.collect(), forgotten: Vec::new() }
    }

    /// One sample was dropped.
    pub(super) fn dropped(&mut self, taken_at: DateTime<Utc>, reason: GapReason, error: Option<&str>) {
        let one = Gap {
            gap_id: GapId::new(),
            from: taken_at,
            to: taken_at,
            count: Some(1),
            reason,
            error: error.map(str::to_owned),
        };
        let open = self.held.last_mut().filter(|held| !held.is_sent && held.gap.reason == reason);
        match open.filter(|held| held.gap.count.is_some()) {
            Some(held) => held.grow(&one),
            None => self.add(one),
        }
    }

    /// Samples were lost.
    pub(super) fn add(&mut self, gap: Gap) {
        self.held.push(Held { gap, is_sent: false, is_stored: false, is_saving: false });
        if self.held.len() > MAX_GAPS {
            self.join_two();
        }
    }

    fn join_two(&mut self) {
        let joinable = |pair: &[Held]| pair.iter().all(|held| !held.is_sent && !held.is_saving);
        let Some(at) = self.held.windows(2).position(joinable) else { return };
        let second = self.held.remove(at + 1);
        if second.is_stored {
            self.forgotten.push(second.gap.gap_id);
        }
        if let Some(first) = self.held.get_mut(at) {
            first.grow(&second.gap);
        }
    }

    /// The gap that takes what has no room, if there is one.
    pub(super) fn overflowing(&self) -> Option<&Gap> {
        let last = self.held.iter().rfind(|held| held.gap.reason == GapReason::OutboxFull);
        last.filter(|held| !held.is_sent && held.gap.count.is_some()).map(|held| &held.gap)
    }

    /// That gap as it stands on disk now.
    pub(super) fn overflowed(&mut self, gap: Gap) {
        match self.held.iter_mut().find(|held| held.gap.gap_id == gap.gap_id) {
            Some(held) => (held.gap, held.is_stored) = (gap, true),
            None => {
                self.held.push(Held { gap, is_sent: false, is_stored: true, is_saving: false });
                if self.held.len() > MAX_GAPS {
                    self.join_two();
                }
            }
        }
    }

    /// Whether the disk knows less than is known here.
    pub(super) fn is_changed(&self) -> bool {
        !self.forgotten.is_empty() || self.held.iter().any(|held| !held.is_stored)
    }

    /// What is to be written and what is to be removed.
    pub(super) fn begin_save(&mut self) -> (Vec<Gap>, Vec<GapId>) {
        let changed = self.held.iter_mut().filter(|held| !held.is_stored);
        let write = changed.map(|held| {
            held.is_saving = true;
            held.gap.clone()
        });
        (write.collect(), self.forgotten.clone())
    }

    /// It was written, or was not. Nothing changed in the meantime but what was dropped from memory.
    pub(super) fn saved(&mut self, written: &[Gap], removed: &[GapId], is_done: bool) {
        for held in &mut self.held {
            held.is_saving = false;
            held.is_stored |= is_done && written.contains(&held.gap);
        }
        if is_done {
            self.forgotten.retain(|gap_id| !removed.contains(gap_id));
            // Acknowledged while it was written.
            let is_held = |gap_id: GapId| self.held.iter().any(|held| held.gap.gap_id == gap_id);
            let over = written.iter().map(|gap| gap.gap_id).filter(|gap_id| !is_held(*gap_id));
            self.forgotten.extend(over);
        }
    }

    /// The next one to say.
    pub(super) fn poll(&mut self) -> Option<Gap> {
        let held = self.held.iter_mut().find(|held| !held.is_sent)?;
        held.is_sent = true;
        Some(held.gap.clone())
    }

    /// The server has it.
    pub(super) fn acknowledged(&mut self, gap_id: GapId) {
        let Some(at) = self.held.iter().position(|held| held.gap.gap_id == gap_id && held.is_sent) else {
            return;
        };
        // One that is about to be written is removed once it is.
        let held = self.held.remove(at);
        if held.is_stored {
            self.forgotten.push(gap_id);
        }
    }

    /// The connection is gone: all are said again.
    pub(super) fn rewind(&mut self) {
        self.held.iter_mut().for_each(|held| held.is_sent = false);
    }
}

impl Held {
    /// The same gap, with these samples as well.
    fn grow(&mut self, more: &Gap) {
        let gap = &mut self.gap;
        (gap.from, gap.to) = (gap.from.min(more.from), gap.to.max(more.to));
        gap.count = gap.count.zip(more.count).map(|(one, other)| one.saturating_add(other));
        self.is_stored = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    fn time(minute: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minute)
    }

    #[test]
    fn drops_for_one_reason_are_one_gap_until_it_is_said() {
        let mut gaps = Gaps::default();
        (0..3).for_each(|minute| gaps.dropped(time(minute), GapReason::DiskFull, None));
        let said = gaps.poll().unwrap();
        assert_eq!((said.from, said.to, said.count), (time(0), time(2), Some(3)));
        // What comes now is another one: the answer may be on its way.
        gaps.dropped(time(3), GapReason::DiskFull, None);
        gaps.acknowledged(said.gap_id);
        let second = gaps.poll().unwrap();
        assert_eq!((second.from, second.count), (time(3), Some(1)));
        // Its answer was lost with the connection: it grows, under the same name.
        gaps.rewind();
        gaps.dropped(time(4), GapReason::DiskFull, None);
        let again = gaps.poll().unwrap();
        assert_eq!((again.gap_id, again.to, again.count), (second.gap_id, time(4), Some(2)));
    }

    #[test]
    fn there_are_never_too_many_and_no_sample_goes_uncounted() {
        let mut gaps = Gaps::default();
        for minute in 0..500 {
            let reason = if minute % 2 == 0 { GapReason::DiskFull } else { GapReason::StoreFailed };
            gaps.dropped(time(minute), reason, Some("No space left on device"));
        }
        let said: Vec<Gap> = std::iter::from_fn(|| gaps.poll()).collect();
        assert_eq!(said.len(), MAX_GAPS);
        assert_eq!(said.iter().map(|gap| gap.count.unwrap()).sum::<u64>(), 500);
    }

    #[test]
    fn an_acknowledged_gap_is_removed_from_the_disk_even_if_it_was_being_written() {
        let mut gaps = Gaps::default();
        gaps.dropped(time(0), GapReason::StoreFailed, None);
        let (written, removed) = gaps.begin_save();
        let said = gaps.poll().unwrap();
        gaps.acknowledged(said.gap_id);
        gaps.saved(&written, &removed, true);
        assert_eq!(gaps.begin_save().1, [said.gap_id]);
        gaps.saved(&[], &[said.gap_id], true);
        assert!(!gaps.is_changed());
    }
}
