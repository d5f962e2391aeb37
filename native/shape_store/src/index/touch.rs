//! When an entry was last read: one word beside its cell, which any caller writes
//! without a lock and without writing anything that a lookup of the entry reads.
//!
//! A cell passes from shape to shape, and a caller who found a shape may come late with
//! its mark. So a caller *holds* the cell from before it looks whose it is until the mark
//! is made, and the mutator fills no cell that is held: it takes another. A mark meets
//! the shape that was looked at, or the vacant cell that it left.

use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release, SeqCst};

use crate::sync::{AtomicU16, AtomicU32, AtomicU64};

/// A time of the host's monotonic clock, as the word has it: in the order of the times,
/// and zero for none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Stamp(u64);

impl Stamp {
    /// Not read since it was added. What memory is that nobody wrote to.
    pub(crate) const NEVER: Self = Self(0);

    /// Of a time, which may be negative. The least there is would be "never", and counts
    /// as the one after it.
    pub(crate) fn at(time: i64) -> Self {
        Self((time as u64 ^ 1 << 63).max(1))
    }

    /// The one that is there now. In one order with those who write it and with the
    /// beginning of a look (`images.rs`).
    pub(crate) fn load(word: &AtomicU64) -> Self {
        Self(word.load(SeqCst))
    }

    pub(crate) fn time(self) -> Option<i64> {
        (self != Self::NEVER).then_some((self.0 ^ 1 << 63) as i64)
    }
}

/// The mark of a cell: its stamp, who holds it, and how the handle begins, by which those
/// of one time are told apart without a look at their cells.
#[derive(Clone, Copy)]
pub(crate) struct Mark<'a> {
    pub(crate) stamp: &'a AtomicU64,
    pub(crate) begins: &'a AtomicU32,
    /// Each hold is that of a thread in a call: there are never 2^16 of them.
    pub(crate) holds: &'a AtomicU16,
}

impl<'a> Mark<'a> {
    /// The mark as it is now, of whomever.
    pub(crate) fn stamp(self) -> Stamp {
        Stamp::load(self.stamp)
    }

    /// Keeps the cell from being filled. Whoever looks at it after this and finds a shape
    /// may mark it.
    pub(crate) fn hold(self) -> CellHold<'a> {
        // Pairs with the one in `is_held`. When that one came first, the vacating before it
        // is seen by the look that comes after this.
        self.holds.fetch_add(1, AcqRel);
        CellHold(self)
    }

    /// Whether somebody may still mark the shape that left the cell. Mutator only, of a
    /// vacant cell that is to be filled.
    pub(crate) fn is_held(self) -> bool {
        // A read-modify-write, so that it comes before or after each one of `hold`, and
        // not unnoticed between. Its Acquire pairs with the Release of `CellHold::drop`: the
        // marks of those who let go come before what is written next.
        self.holds.fetch_add(0, AcqRel) != 0
    }

    /// Mutator only, while the cell's words are replaced: who reads the mark together
    /// with the words gets that of the shape they are of.
    pub(crate) fn reset(self, stamp: Stamp, begins: u32) {
        self.stamp.store(stamp.0, Relaxed);
        self.begins.store(begins, Relaxed);
    }
}

/// A cell that is not filled for as long as this is there.
pub(crate) struct CellHold<'a>(Mark<'a>);

impl CellHold<'_> {
    /// Puts in place of what is there what `to` makes of it, and gives what was there.
    /// `before` hears of that first, and perhaps of what it was then not.
    pub(crate) fn replace(&self, to: impl Fn(Stamp) -> Stamp, before: impl Fn(Stamp)) -> Stamp {
        let mut there = self.0.stamp();
        loop {
            let new = to(there);
            if new == there {
                return there;
            }
            before(there);
            match self.0.stamp.compare_exchange_weak(there.0, new.0, SeqCst, SeqCst) {
                Ok(_) => return there,
                Err(other) => there = Stamp(other),
            }
        }
    }
}

impl Drop for CellHold<'_> {
    fn drop(&mut self) {
        self.0.holds.fetch_sub(1, Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_in_the_order_of_times_and_never_comes_first() {
        let times = [i64::MIN + 1, -576_460_752_303_423_488, -1, 0, 1, i64::MAX];
        let stamps: Vec<_> = times.iter().map(|time| Stamp::at(*time)).collect();
        assert!(stamps.is_sorted_by(|a, b| a < b));
        assert!(stamps.iter().all(|stamp| *stamp > Stamp::NEVER));
        assert!(stamps.iter().map(|stamp| stamp.time()).eq(times.map(Some)));
        assert_eq!(Stamp::NEVER.time(), None);
        assert_eq!(Stamp::at(i64::MIN).time(), Some(i64::MIN + 1));
    }
}
