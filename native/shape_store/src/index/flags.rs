//! How many shapes have which flags, counted as they come and go.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

const BITS: u32 = u8::BITS;
const VALUES: usize = 1 << BITS;

/// Only the mutator writes, so that a counter is loaded and stored. A reader of one of them
/// takes no lock; the sum of several is of one moment only under the mutation lock.
pub(crate) struct Flags {
    /// By bit, without it and with it.
    by_bit: [[AtomicUsize; 2]; BITS as usize],
    by_value: [AtomicUsize; VALUES],
    /// Which meaning the flags have that are in the file, if somebody said.
    version: Mutex<Option<String>>,
}

impl Flags {
    pub(crate) fn new() -> Self {
        Self {
            by_bit: [const { [const { AtomicUsize::new(0) }; 2] }; BITS as usize],
            by_value: [const { AtomicUsize::new(0) }; VALUES],
            version: Mutex::new(None),
        }
    }

    /// Counts a shape. Mutator only.
    pub(crate) fn came(&self, flags: u8) {
        self.each_of(flags, |counter| counter.store(counter.load(Relaxed) + 1, Relaxed));
    }

    /// Counts a shape no more. Mutator only.
    pub(crate) fn went(&self, flags: u8) {
        self.each_of(flags, |counter| counter.store(counter.load(Relaxed) - 1, Relaxed));
    }

    fn each_of(&self, flags: u8, change: impl Fn(&AtomicUsize)) {
        for (bit, counters) in self.by_bit.iter().enumerate() {
            let [without, with] = counters;
            change(if flags >> bit & 1 == 0 { without } else { with });
        }
        self.by_value.get(usize::from(flags)).into_iter().for_each(change);
    }

    /// How many have this bit, or lack it, for a mask of one bit.
    pub(crate) fn count_by_bit(&self, mask: u8, value: u8) -> Option<usize> {
        let bit = mask.is_power_of_two().then(|| mask.trailing_zeros())?;
        let [without, with] = self.by_bit.get(bit as usize)?;
        Some(match value {
            0 => without.load(Relaxed),
            value if value == mask => with.load(Relaxed),
            _ => 0,
        })
    }

    /// How many have this value under this mask. Only who holds the mutation lock may call it.
    pub(crate) fn count(&self, mask: u8, value: u8) -> usize {
        let values = self.by_value.iter().enumerate();
        values.filter(|(flags, _)| *flags as u8 & mask == value).map(|(_, n)| n.load(Relaxed)).sum()
    }

    pub(crate) fn version(&self) -> Option<String> {
        self.version.lock().clone()
    }

    pub(crate) fn set_version(&self, version: Option<String>) {
        *self.version.lock() = version;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn counts_are_those_of_a_walk() {
        let counts = Flags::new();
        let mut there = vec![0u8, 1, 1, 3, 128, 255, 254, 7];
        there.iter().for_each(|flags| counts.came(*flags));
        for gone in [1u8, 255, 0] {
            for mask in 0..=255u8 {
                for value in 0..=255u8 {
                    let walked = there.iter().filter(|flags| **flags & mask == value).count();
                    assert_eq!(counts.count(mask, value), walked);
                    let by_bit = counts.count_by_bit(mask, value);
                    assert_eq!(by_bit, mask.is_power_of_two().then_some(walked));
                }
            }
            counts.went(gone);
            there.remove(there.iter().position(|flags| *flags == gone).unwrap_or_default());
        }
    }
}
