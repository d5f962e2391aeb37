//! The shapes that were read longest ago, exactly as they were at one moment, while
//! callers go on reading shapes.
//!
//! A *look* has two steps. It walks over all stamps and notes the lowest, more than it was
//! asked for: the *candidates*. Then it goes over the first `n` of those that are left, in
//! *passes*, and drops each whose stamp is not what the walk saw, until a pass drops none.
//!
//! The answer is that of the moment at which this last pass began. What is in it had its
//! stamp by then, and had it still when the pass came by; a stamp that moved in between
//! does not come back to what it was. What was dropped had moved before that moment. And
//! what is not in it had a higher stamp when the walk came by, or none, and stamps rise:
//! a touch leaves the later one. Whatever makes a stamp sink all the same, a shape that is
//! read for the first time, or is said to have been read earlier, says how low it *sank*,
//! after it did. Where that is not above the answer, the look is made again.
//!
//! When `n` reaches to shapes that are being read all the time, no pass may be without a
//! loss. After some looks the last one counts: each shape in it was there with its stamp
//! when the pass came by, and none before it was read while the answer was made.

use std::{
    ops::Range,
    sync::atomic::{
        AtomicU64,
        Ordering::{AcqRel, Relaxed},
    },
};

use parking_lot::Mutex;

use super::Index;
use crate::{
    entry::{Handle, RowId},
    slab::EntryId,
    touch::Stamp,
};

/// Looks before an answer is given that may be of more than one moment.
const LOOKS: usize = 32;

pub(crate) struct Coldest {
    /// One look at a time: `sunk` is of one.
    looking: Mutex<()>,
    /// The lowest stamp that an entry sank to since the look began.
    sunk: AtomicU64,
}

/// In the order of the answer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    stamp: Stamp,
    handle: Handle,
    row: RowId,
    id: EntryId,
}

/// What a walk found.
struct Found {
    candidates: Vec<Candidate>,
    /// Whether these are all that were ever read.
    all: bool,
}

impl Coldest {
    pub(crate) fn new() -> Self {
        Self { looking: Mutex::new(()), sunk: AtomicU64::new(Stamp::LATEST.number()) }
    }

    /// Notes that an entry has a stamp now that it did not rise to. To be called after it
    /// has it: a look that begins later meets the stamp, one that has begun meets the note,
    /// at the latest when who made it returns.
    pub(crate) fn sank(&self, stamp: Stamp) {
        // Pairs with `begin`, which a walk comes after.
        self.sunk.fetch_min(stamp.number(), AcqRel);
    }

    fn begin(&self) {
        self.sunk.swap(Stamp::LATEST.number(), AcqRel);
    }

    /// Whether none sank to this stamp or below since the look began.
    fn is_above(&self, stamp: Stamp) -> bool {
        // A read-modify-write sees the last one.
        self.sunk.fetch_add(0, AcqRel) > stamp.number()
    }
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
        for _ in 0..LOOKS {
            self.coldest.begin();
            let mut found = self.walk(used(), n);
            let settled = self.settle(&mut found, n);
            answer = found.candidates;
            answer.truncate(n);
            let last = answer.last().map_or(Stamp::NEVER, |last| last.stamp);
            // Whatever is read for the first time belongs to an answer that is not full.
            let bound = if answer.len() < n { Stamp::BELOW_LATEST } else { last };
            if settled && self.coldest.is_above(bound) {
                break;
            }
        }
        answer.into_iter().map(|one| (one.handle, one.stamp)).collect()
    }

    fn walk(&self, ids: Range<EntryId>, n: usize) -> Found {
        // Some are touched before they are looked at again, and others take their places.
        let keep = n + n / 8 + 16;
        let mut lowest = Lowest::new(keep);
        for (_, stamps) in self.slab.stamps(ids.clone()) {
            let stamps = stamps.iter().map(|stamp| stamp.load(Relaxed));
            stamps.filter(|stamp| *stamp != 0).for_each(|stamp| lowest.push(stamp));
        }
        let (highest, all) = match lowest.highest() {
            Some(highest) => (highest, false),
            None => (u64::MAX, true),
        };
        // Only now the handles, of which one is a look at a cell.
        let mut candidates = Lowest::new(keep);
        for (start, stamps) in self.slab.stamps(ids) {
            for (id, stamp) in (start..).zip(stamps) {
                let stamp = stamp.load(Relaxed);
                if stamp == 0 || stamp > highest {
                    continue;
                }
                // One that has gone since, or was read, is not among them any more.
                let candidate = self.candidate(id);
                candidate
                    .filter(|one| one.stamp.number() <= highest)
                    .into_iter()
                    .for_each(|one| candidates.push(one));
            }
        }
        let all = candidates.highest().is_none() && all;
        let mut candidates = candidates.kept;
        candidates.sort_unstable();
        Found { candidates, all }
    }

    fn candidate(&self, id: EntryId) -> Option<Candidate> {
        let (cell, mark) = self.slab.slot(id)?;
        let (look, stamp) = cell.look_at(mark);
        let entry = self.whole(look)?;
        (stamp != Stamp::NEVER).then_some(Candidate {
            stamp,
            handle: entry.handle,
            row: entry.row,
            id,
        })
    }

    /// Passes until none is dropped. False when too few are left to know.
    fn settle(&self, found: &mut Found, n: usize) -> bool {
        let candidates = &mut found.candidates;
        loop {
            let wanted = candidates.len().min(n);
            let enough = wanted == n || found.all;
            let mut place = 0;
            let before = candidates.len();
            candidates.retain(|one| {
                place += 1;
                place > wanted || self.is_still(one)
            });
            if !enough {
                return false;
            }
            if candidates.len() == before {
                return true;
            }
            // One that was dropped is elsewhere now.
            found.all = false;
        }
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
