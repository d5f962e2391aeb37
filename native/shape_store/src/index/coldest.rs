//! The shapes that were read longest ago, exactly as they were at one moment, while
//! callers go on reading shapes.
//!
//! A walk over all stamps finds how high the lowest of them go, some more than it was asked
//! for; a second one looks whose these are. That takes some milliseconds, and the moment is
//! the one before: an entry whose stamp was overwritten since gets the one that it had
//! then (`images.rs`). It may go out by that, and come back in. An entry that is removed
//! meanwhile may be left out, for another.

use std::{cmp::Ordering, ops::Range, sync::atomic::Ordering::Relaxed};

use super::Index;
use crate::{
    entry::{Handle, RowId},
    index::{
        cell::{Begins, Cell},
        slab::{EntryId, Piece},
        touch::Stamp,
    },
    sync::AtomicU32,
};

/// In the order of the answer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    stamp: Stamp,
    handle: Handle,
    row: RowId,
    id: EntryId,
}

/// What the walks found.
struct Candidates {
    them: Vec<Candidate>,
    /// What has a higher stamp was left out.
    highest: Option<Stamp>,
    /// And what comes after this one.
    last: Option<Candidate>,
}

impl Candidates {
    fn are_all(&self) -> bool {
        self.highest.is_none() && self.last.is_none()
    }

    fn reach(&self, stamp: Stamp) -> bool {
        self.highest.is_none_or(|highest| stamp <= highest)
            && self.last.as_ref().is_none_or(|last| stamp <= last.stamp)
    }

    fn reach_to(&self, one: &Candidate) -> bool {
        self.reach(one.stamp) && self.last.as_ref().is_none_or(|last| one <= last)
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
        let mut looking = self.images.begin();
        // After that: who is in an id that is not walked over came later.
        let used = used();
        let mut spare = 16 + n / 8;
        loop {
            let mut found = self.walk(used.clone(), n.saturating_add(spare));
            let before = looking.before();
            found.them.retain(|one| !before.contains_key(&(one.id, one.row)));
            // Most without a look at the cell.
            let there = |stamp: Stamp| stamp != Stamp::NEVER && found.reach(stamp);
            let rewritten = before.iter().filter(|(_, stamp)| there(**stamp));
            let rewritten = rewritten.filter_map(|((id, row), stamp)| {
                let one = Candidate { stamp: *stamp, ..self.candidate(*id)? };
                (one.row == *row && found.reach_to(&one)).then_some(one)
            });
            let rewritten: Vec<_> = rewritten.collect();
            found.them.extend(rewritten);
            // Enough, unless more than were to spare have gone, or were read for the first
            // time since: there is an end of the entries to that.
            if found.them.len() >= n || found.are_all() {
                found.them.sort_unstable();
                found.them.truncate(n);
                return found.them.into_iter().map(|one| (one.handle, one.stamp)).collect();
            }
            spare = spare.saturating_mul(4);
        }
    }

    fn walk(&self, ids: Range<EntryId>, keep: usize) -> Candidates {
        let mut lowest = Lowest::new(keep);
        for piece in self.slab.pieces(ids.clone()) {
            let stamps = piece.stamps.iter().map(Stamp::load);
            stamps.filter(|stamp| *stamp != Stamp::NEVER).for_each(|stamp| lowest.push(stamp));
        }
        let highest = lowest.highest();
        // Only now the handles, of which one is a look at a cell.
        let mut candidates = Lowest::new(keep);
        let mut beyond: Option<Beyond> = None;
        for Piece { start, stamps, begins, cells } in self.slab.pieces(ids) {
            // Of nearly all, the stamp is all that is looked at.
            for (offset, stamp) in stamps.iter().map(Stamp::load).enumerate() {
                if stamp == Stamp::NEVER || highest.is_some_and(|highest| stamp > highest) {
                    continue;
                }
                let (Some(begins), Some(cell)) = (begins.get(offset), cells.get(offset)) else {
                    continue;
                };
                if beyond.as_ref().is_some_and(|one| one.is_before(stamp, begins, cell)) {
                    continue;
                }
                let id = start + offset as EntryId;
                // One that has gone, or was read since, is not among them any more.
                let Some(one) = self.candidate(id).filter(|one| one.stamp != Stamp::NEVER) else {
                    continue;
                };
                candidates.push(one);
                beyond = candidates.bound.as_ref().map(Beyond::of);
            }
        }
        let last = candidates.highest();
        Candidates { them: candidates.kept, highest, last }
    }

    /// What is in a cell now.
    fn candidate(&self, id: EntryId) -> Option<Candidate> {
        let (cell, mark) = self.slab.slot(id)?;
        let (look, stamp) = cell.look_at(mark);
        let entry = self.whole(look)?;
        let (handle, row) = (entry.handle, entry.row);
        Some(Candidate { stamp, handle, row, id })
    }
}

/// By which most of what comes after a candidate is told without a look at its handle, or at
/// its cell: when very many have one stamp.
struct Beyond {
    stamp: Stamp,
    begins: Begins,
}

impl Beyond {
    fn of(one: &Candidate) -> Self {
        Self { stamp: one.stamp, begins: Begins::of(&one.handle) }
    }

    /// Whether it is sure to come before a cell with this stamp. How the handle begins is of
    /// the entry that has the stamp, if that was there when the look began.
    fn is_before(&self, stamp: Stamp, begins: &AtomicU32, cell: &Cell) -> bool {
        let beside = || begins.load(Relaxed).cmp(&self.begins.first());
        match stamp.cmp(&self.stamp).then_with(beside) {
            Ordering::Greater => true,
            Ordering::Equal => cell.is_after(&self.begins),
            Ordering::Less => false,
        }
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
