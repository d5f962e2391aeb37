//! How long a writer lets changes gather after a batch, while nobody waits for them.
//!
//! A batch costs about as much as twenty adds for itself, so a writer that starts at each
//! change spends most of its time, and the disk's, on that. Many writers share the
//! processors: the more of them have changes gather, the longer each does, so that all
//! together they make no more batches than the machine has time for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// What a writer waits that is alone, or one of few.
const ALONE: Duration = Duration::from_millis(2);

/// So many others make it wait as long again.
const FEW: usize = 4;

/// It waits that long at most this many times over: 100 ms.
const MOST: usize = 50;

/// A writer that lets changes gather, counted among those of its process.
pub(super) struct Gathering {
    until: Instant,
    all: Arc<AtomicUsize>,
}

impl Gathering {
    /// From now on, as one of `all`.
    pub(super) fn begin(all: Arc<AtomicUsize>, now: Instant) -> Self {
        // Relaxed: it counts, and orders nothing.
        let others = all.fetch_add(1, Relaxed);
        let times = MOST.min(1 + others / FEW);
        Self { until: now + ALONE * times as u32, all }
    }

    /// When it takes what there is.
    pub(super) fn until(&self) -> Instant {
        self.until
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
#[expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn waits(all: &Arc<AtomicUsize>, now: Instant) -> (Gathering, u128) {
        let one = Gathering::begin(Arc::clone(all), now);
        let ms = (one.until() - now).as_millis();
        (one, ms)
    }

    #[test]
    fn the_more_there_are_the_longer_each_waits_up_to_a_bound() {
        let (all, now) = (Arc::default(), Instant::now());
        let (mut there, waits): (Vec<_>, Vec<_>) = (0..1_000).map(|_| waits(&all, now)).unzip();
        assert_eq!(waits[..9], [2, 2, 2, 2, 4, 4, 4, 4, 6]);
        assert_eq!((waits[195], waits[196], waits[999]), (98, 100, 100));
        // Those that have gone count no more.
        there.truncate(4);
        assert_eq!(self::waits(&all, now).1, 4);
        there.clear();
        assert_eq!(self::waits(&all, now).1, 2);
    }
}
