//! The shapes that were read longest ago, exactly as they were at one moment, while
//! callers go on reading shapes.
//!
//! A walk over all stamps finds how high the lowest of them go, some more than it was asked
//! for; a second one looks whose these are. That takes some milliseconds, and the moment is
//! the one before: an entry whose stamp was overwritten since gets the one that it had
//! then (`images.rs`). It may go out by that, and come back in. An entry that is removed
//! meanwhile may be left out, for another.

use std::ops::Range;

use super::Index;
use crate::{
    cell::{Begins, Cell},
    entry::{Handle, RowId},
    slab::EntryId,
    touch::Stamp,
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
        for (_, stamps, _) in self.slab.pieces(ids.clone()) {
            let stamps = stamps.iter().map(Stamp::load);
            stamps.filter(|stamp| *stamp != Stamp::NEVER).for_each(|stamp| lowest.push(stamp));
        }
        let highest = lowest.highest();
        // Only now the handles, of which one is a look at a cell.
        let mut candidates = Lowest::new(keep);
        let mut beyond = None;
        for (start, stamps, cells) in self.slab.pieces(ids) {
            for ((id, stamp), cell) in (start..).zip(stamps.iter().map(Stamp::load)).zip(cells) {
                let wanted =
                    stamp != Stamp::NEVER && highest.is_none_or(|highest| stamp <= highest);
                if !wanted || is_beyond(cell, stamp, beyond.as_ref()) {
                    continue;
                }
                // One that has gone, or was read since, is not among them any more.
                let Some(one) = self.candidate(id).filter(|one| one.stamp != Stamp::NEVER) else {
                    continue;
                };
                candidates.push(one);
                beyond = candidates.bound.as_ref().map(|one| (one.stamp, Begins::of(&one.handle)));
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

/// Whether a cell with this stamp is sure to come after another, by the beginnings of their
/// handles: when very many have one stamp, to look at no more of each. The words are those
/// of the entry that has the stamp, if it was there when the look began.
fn is_beyond(cell: &Cell, stamp: Stamp, bound: Option<&(Stamp, Begins)>) -> bool {
    bound.is_some_and(|(at, begins)| stamp > *at || stamp == *at && cell.is_after(begins))
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
