//! Which entries were last given an earlier time of reading than they had, or their first:
//! the only ways in which a stamp comes to be lower than somebody has seen it.
//!
//! A ring that anybody writes to without a lock, and that one reader at a time follows. A
//! note is made after the stamp is there and before its maker returns. So who follows the
//! ring from a point on meets the stamp itself, if that was before the point, and else the
//! note, at the latest when its maker has returned.

use std::{
    cmp::Ordering::{Equal, Greater, Less},
    sync::atomic::Ordering::{AcqRel, Acquire, Release},
};

use crate::{slab::EntryId, sync::AtomicU64};

/// How many notes are kept.
#[cfg(not(loom))]
const NOTES: usize = 256;
#[cfg(loom)]
const NOTES: usize = 2;

pub(crate) struct Sunk {
    next: AtomicU64,
    /// Each how often the ring had gone round, over the id that sank.
    notes: [AtomicU64; NOTES],
}

/// How far somebody has followed.
pub(crate) struct Followed {
    next: u64,
    /// Numbers whose notes were not there yet.
    open: Vec<u64>,
}

/// Ids are below 2^31.
const ID_BITS: u32 = 31;

fn lap(number: u64) -> u64 {
    number / NOTES as u64
}

/// More was noted than is kept.
#[derive(Debug)]
pub(crate) struct Missed;

impl Sunk {
    pub(crate) fn new() -> Self {
        Self {
            // From the second round on: a note that is zero was never made.
            next: AtomicU64::new(NOTES as u64),
            notes: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Notes that the stamp of an entry sank, which it has done.
    pub(crate) fn note(&self, id: EntryId) {
        // Release: who sees that there is a note sees the stamp. Pairs with `end`.
        let number = self.next.fetch_add(1, AcqRel);
        if let Some(note) = self.notes.get(number as usize % NOTES) {
            // Never in place of a later one: its maker may have been faster.
            note.fetch_max(lap(number) << ID_BITS | u64::from(id), Release);
        }
    }

    pub(crate) fn follow(&self) -> Followed {
        Followed { next: self.end(), open: Vec::new() }
    }

    /// What was noted since.
    pub(crate) fn since(&self, followed: &mut Followed) -> Result<Vec<EntryId>, Missed> {
        let end = self.end();
        if end - followed.next > NOTES as u64 {
            return Err(Missed);
        }
        let numbers = std::mem::take(&mut followed.open).into_iter().chain(followed.next..end);
        followed.next = end;
        let mut ids = Vec::new();
        for number in numbers {
            let note = self.notes.get(number as usize % NOTES).map_or(0, |note| note.load(Acquire));
            match (note >> ID_BITS).cmp(&lap(number)) {
                Less => followed.open.push(number),
                Equal => ids.push((note & ((1 << ID_BITS) - 1)) as EntryId),
                Greater => return Err(Missed),
            }
        }
        Ok(ids)
    }

    /// The number of the next note. A read-modify-write, which comes before or after each
    /// one of `note`, and not unnoticed between.
    fn end(&self) -> u64 {
        self.next.fetch_add(0, AcqRel)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn notes_are_followed_until_they_are_too_many() {
        let sunk = Sunk::new();
        sunk.note(7);
        let mut followed = sunk.follow();
        assert_eq!(sunk.since(&mut followed).ok(), Some(vec![]));
        for round in 0..3 {
            (0..NOTES as EntryId).for_each(|id| sunk.note(id + round));
            let expected: Vec<_> = (0..NOTES as EntryId).map(|id| id + round).collect();
            assert_eq!(sunk.since(&mut followed).ok(), Some(expected));
            assert_eq!(sunk.since(&mut followed).ok(), Some(vec![]));
        }
        (0..=NOTES as EntryId).for_each(|id| sunk.note(id));
        assert!(sunk.since(&mut followed).is_err());
    }
}
