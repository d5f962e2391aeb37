//! The shapes that were read longest ago, exactly as they were at one moment, while
//! callers go on reading shapes.
//!
//! A *walk* over all stamps notes the lowest, some more than it was asked for: the
//! *candidates*. Then *passes* go over the first `n` of them. One whose stamp is not what
//! was seen goes to its new place, or out. That goes on until a pass finds all as they were.
//!
//! The answer is that of the moment at which this last pass began. What is in it had its
//! stamp before, and still when the pass came by. What is not in it had a higher stamp once,
//! and stamps rise: a touch leaves the later of two. So do those of the answer, of which
//! none came back to what it was. Where a stamp sinks all the same, of a shape that is read
//! for the first time, or said to have been read earlier, that is noted (`sunk.rs`), and
//! each note since the walk began is looked at after the pass: one that reaches into the
//! answer asks for another pass.
//!
//! When `n` reaches to shapes that are being read all the time, there may be no pass without
//! a change. After many the last one counts: each shape in it was there with its stamp when
//! the pass came by, which is some microseconds before the answer.

use std::{ops::Range, sync::atomic::Ordering::Relaxed};

use parking_lot::Mutex;

use super::Index;
use crate::{
    cell::Cell,
    entry::{Handle, RowId, prefix},
    slab::EntryId,
    sunk::{Followed, Sunk},
    touch::Stamp,
};

/// Walks before an answer is given that may be of more than one moment, and passes of each.
const WALKS: usize = 16;
const PASSES: usize = 500;

pub(super) struct Coldest {
    /// One look at a time: on few schedulers, for some milliseconds.
    looking: Mutex<()>,
    pub(super) sunk: Sunk,
}

impl Coldest {
    pub(super) fn new() -> Self {
        Self { looking: Mutex::new(()), sunk: Sunk::new() }
    }
}

/// In the order of the answer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    stamp: Stamp,
    handle: Handle,
    row: RowId,
    id: EntryId,
}

/// What a walk found, in order.
struct Candidates {
    them: Vec<Candidate>,
    /// All that have a higher stamp are left out; none when nothing is.
    highest: Option<Stamp>,
}

impl Index {
    /// The `n` entries that were read longest ago, least recent first, by handle where that
    /// is the same time. Without those that were never read. Looks at all of them.
    pub(crate) fn least_recently_read(
        &self,
        n: usize,
        used: impl Fn() -> Range<EntryId>,
    ) -> Vec<(Handle, Stamp)> {
        let _one = self.coldest.looking.lock();
        let mut answer = Vec::new();
        for walk in 0..WALKS {
            // Some are read before they are looked at again, and others take their places:
            // the more, the more often that was not enough.
            let spare = n / 8 + (16 << walk);
            let mut followed = self.coldest.sunk.follow();
            // After that: whoever is in an id that is not walked over sinks into it later.
            let mut candidates = self.walk(used(), n + spare);
            let settled = self.settle(&mut candidates, n, &mut followed);
            answer = candidates.them;
            answer.truncate(n);
            if settled {
                break;
            }
        }
        answer.into_iter().map(|one| (one.handle, one.stamp)).collect()
    }

    fn walk(&self, ids: Range<EntryId>, keep: usize) -> Candidates {
        let mut lowest = Lowest::new(keep);
        for (_, stamps) in self.slab.stamps(ids.clone()) {
            let stamps = stamps.iter().map(|stamp| stamp.load(Relaxed));
            stamps.filter(|stamp| *stamp != 0).for_each(|stamp| lowest.push(stamp));
        }
        let all = lowest.highest().is_none();
        let bound = Stamp::of_number(lowest.highest().unwrap_or(u64::MAX));
        // Only now the handles, of which one is a look at a cell.
        let mut candidates = Lowest::new(keep);
        for (start, stamps) in self.slab.stamps(ids) {
            for (id, stamp) in (start..).zip(stamps) {
                let stamp = Stamp::of_number(stamp.load(Relaxed));
                let wanted = stamp != Stamp::NEVER && stamp <= bound;
                if wanted && !self.is_beyond(id, stamp, candidates.bound.as_ref()) {
                    // One that has gone, or was read since, is not among them any more.
                    let candidate = self.candidate(id);
                    candidate.into_iter().for_each(|one| candidates.push(one));
                }
            }
        }
        // Of those with the bound's stamp some may be left out, by their handles.
        let by_handle = candidates.highest().map(|one| one.stamp);
        let highest = by_handle.or((!all).then_some(bound));
        let mut them = candidates.kept;
        them.sort_unstable();
        them.retain(|one| highest.is_none_or(|highest| one.stamp <= highest));
        Candidates { them, highest }
    }

    /// Whether a cell with this stamp is sure to come after another, by the beginnings of
    /// their handles: when very many have one stamp, to look at no more of each.
    fn is_beyond(&self, id: EntryId, stamp: Stamp, bound: Option<&Candidate>) -> bool {
        let Some(bound) = bound.filter(|bound| bound.stamp == stamp) else { return false };
        let first = self.slab.get(id).and_then(Cell::prefix);
        first.is_some_and(|first| first > prefix(&bound.handle))
    }

    /// What is in a cell now, if it was ever read.
    fn candidate(&self, id: EntryId) -> Option<Candidate> {
        let (cell, mark) = self.slab.slot(id)?;
        let (look, stamp) = cell.look_at(mark);
        let entry = self.whole(look)?;
        let (handle, row) = (entry.handle, entry.row);
        (stamp != Stamp::NEVER).then_some(Candidate { stamp, handle, row, id })
    }

    /// Passes until one finds all as they were. False when it cannot know.
    fn settle(&self, candidates: &mut Candidates, n: usize, followed: &mut Followed) -> bool {
        for _ in 0..PASSES {
            if candidates.them.len() < n && candidates.highest.is_some() {
                return false;
            }
            let first = candidates.them.iter().take(n);
            let changed: Vec<_> = first.filter(|one| !self.is_still(one)).map(|o| o.id).collect();
            let Ok(sunk) = self.coldest.sunk.since(followed) else { return false };
            // The note of one that came to a place beyond the answer changes nothing.
            let mut settled = changed.is_empty();
            for id in changed.into_iter().chain(sunk) {
                settled &= self.replace(candidates, id).is_none_or(|place| place >= n);
            }
            if settled {
                return true;
            }
        }
        false
    }

    /// Puts what is in a cell now to its place in place of what was there, and says where.
    fn replace(&self, candidates: &mut Candidates, id: EntryId) -> Option<usize> {
        candidates.them.retain(|one| one.id != id);
        let one = self.candidate(id)?;
        if candidates.highest.is_some_and(|highest| one.stamp > highest) {
            return None;
        }
        let place = candidates.them.partition_point(|other| *other < one);
        candidates.them.insert(place, one);
        Some(place)
    }

    fn is_still(&self, one: &Candidate) -> bool {
        let slot = self.slab.slot(one.id);
        slot.and_then(|(cell, mark)| cell.row_at(mark)) == Some((one.row, one.stamp))
    }
}

/// The lowest of what is pushed: as many as are to be kept, and for a while some more, so
/// that in whatever order they come each costs the same.
struct Lowest<T> {
    keep: usize,
    kept: Vec<T>,
    /// Nothing from here on is kept.
    bound: Option<T>,
}

impl<T: Ord + Clone> Lowest<T> {
    fn new(keep: usize) -> Self {
        Self { keep, kept: Vec::new(), bound: None }
    }

    fn push(&mut self, item: T) {
        if self.bound.as_ref().is_some_and(|bound| item >= *bound) {
            return;
        }
        self.kept.push(item);
        if self.kept.len() >= 2 * self.keep {
            self.drop_highest();
        }
    }

    fn drop_highest(&mut self) {
        if let Some(last) = self.keep.checked_sub(1)
            && self.keep < self.kept.len()
        {
            let (_, highest, _) = self.kept.select_nth_unstable(last);
            self.bound = Some(highest.clone());
            self.kept.truncate(self.keep);
        }
    }

    /// The highest of those that are kept, if not all are.
    fn highest(&mut self) -> Option<T> {
        self.drop_highest();
        self.bound.clone()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_are_kept_in_whatever_order_they_come() {
        for keep in [1, 2, 7, 100, 1_000] {
            let orders: [Vec<u32>; 4] = [
                (0..500).collect(),
                (0..500).rev().collect(),
                (0..500).map(|n| n * 7_919 % 500).collect(),
                vec![3; 500],
            ];
            for order in orders {
                let mut lowest = Lowest::new(keep);
                order.iter().for_each(|item| lowest.push(*item));
                let highest = lowest.highest();
                let mut sorted = order.clone();
                sorted.sort_unstable();
                sorted.truncate(keep);
                assert_eq!(highest, (keep < order.len()).then(|| sorted.last().copied()).flatten());
                lowest.kept.sort_unstable();
                assert_eq!(lowest.kept, sorted);
            }
        }
    }
}
