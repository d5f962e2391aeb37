//! Words in shared memory that one mutator replaces together and readers copy
//! together, at any moment and without a lock.
//!
//! A sequence lock made of atomics only: the mutator makes the version odd, writes
//! the words, makes it even. A reader copies the words between two looks at the
//! version. It never retries: a version that is odd, or that changed, means that
//! the words were being replaced during the look, and the reader says so.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::sync::{AtomicU64, fence};

#[cfg_attr(not(loom), derive(bytemuck::Zeroable))]
#[repr(C)]
pub(crate) struct SeqLock<const N: usize> {
    version: AtomicU64,
    words: [AtomicU64; N],
}

impl<const N: usize> SeqLock<N> {
    /// The first `M` words, unless they were being replaced.
    pub(crate) fn read<const M: usize>(&self) -> Option<[u64; M]> {
        self.read_with(|| ()).map(|(words, ())| words)
    }

    /// The same with something beside the words that [`SeqLock::write_with`] replaces with
    /// them: what is read belongs to the words.
    pub(crate) fn read_with<T, const M: usize>(
        &self,
        beside: impl FnOnce() -> T,
    ) -> Option<([u64; M], T)> {
        const { assert!(M <= N) };
        // Pairs with the Release store that ends `write_with`.
        let before = self.version.load(Acquire);
        if before & 1 == 1 {
            return None;
        }
        let words = std::array::from_fn(|i| self.word(i).load(Relaxed));
        let beside = beside();
        // Orders the loads above before the second look at the version; pairs
        // with the Release fence in `write_with`.
        fence(Acquire);
        (self.version.load(Relaxed) == before).then_some((words, beside))
    }

    /// Replaces the words. Mutator only.
    #[cfg(loom)]
    pub(crate) fn write(&self, words: &[u64; N]) {
        self.write_with(words, || ());
    }

    /// The same, and something beside them. Mutator only.
    pub(crate) fn write_with(&self, words: &[u64; N], beside: impl FnOnce()) {
        let version = self.version.load(Relaxed);
        self.version.store(version.wrapping_add(1), Relaxed);
        // No word may be seen before the odd version is.
        fence(Release);
        beside();
        for (slot, word) in self.words.iter().zip(words) {
            slot.store(*word, Relaxed);
        }
        self.version.store(version.wrapping_add(2), Release);
    }

    /// One word. For the mutator, and others who know whose it is, or need not.
    pub(crate) fn peek(&self, offset: usize) -> u64 {
        self.word(offset).load(Relaxed)
    }

    /// Changes one word, which readers see old or new. Mutator only.
    pub(crate) fn update(&self, offset: usize, change: impl FnOnce(u64) -> u64) {
        let word = self.word(offset);
        word.store(change(word.load(Relaxed)), Relaxed);
    }

    #[expect(clippy::indexing_slicing, reason = "offsets are constants below N")]
    fn word(&self, offset: usize) -> &AtomicU64 {
        &self.words[offset]
    }
}

impl<const N: usize> SeqLock<N> {
    /// All words zero.
    #[cfg(any(test, loom))]
    pub(crate) fn new() -> Self {
        Self { version: AtomicU64::new(0), words: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}
