//! How long a writer lets changes gather after a batch, while nobody waits for them.
//!
//! A batch costs about as much as twenty adds for itself, so a writer that starts at each
//! change spends most of its time, and the disk's, on that. Many writers share the
//! processors: the more of them are busy, the longer each lets changes gather, so that all
//! together make no more batches than the machine has time for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

/// How long when few are busy.
const ALONE: Duration = Duration::from_millis(2);

/// So many others make it as long again.
const FEW: usize = 4;

/// It is that long at most this many times over: 100 ms.
const MOST: usize = 50;

/// A writer to which changes came while they gathered, counted among those of its process.
pub(super) struct Busy(Arc<AtomicUsize>);

impl Busy {
    /// As one of `all`.
    pub(super) fn among(all: Arc<AtomicUsize>) -> Self {
        // Relaxed, here and below: it counts, and orders nothing.
        all.fetch_add(1, Relaxed);
        Self(all)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// How long to let changes gather where `all` are busy.
pub(super) fn gathering_time(all: &AtomicUsize) -> Duration {
    let times = MOST.min(1 + all.load(Relaxed) / FEW);
    ALONE * times as u32
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_more_are_busy_the_longer_changes_gather_up_to_a_bound() {
        let all = Arc::default();
        let mut busy: Vec<Busy> = Vec::new();
        for (count, expected) in [(0, 2), (3, 2), (4, 4), (9, 6), (195, 98), (196, 100), (999, 100)]
        {
            busy.resize_with(count, || Busy::among(Arc::clone(&all)));
            assert_eq!(gathering_time(&all).as_millis(), expected, "{count}");
        }
        // Those that rest count no more.
        busy.truncate(4);
        assert_eq!(gathering_time(&all).as_millis(), 4);
    }
}
