//! The atomics and locks of what is model-checked: the usual ones, or those of loom
//! when it explores what threads and memory may do (`make models`).

#[cfg(not(loom))]
pub(crate) use parking_lot::Mutex;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, fence};

/// Loom's lock with the face of the usual one.
#[cfg(loom)]
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

#[cfg(loom)]
impl<T> Mutex<T> {
    pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        match self.0.lock() {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        }
    }
}

/// Where accesses that are `SeqCst` have one order for all: loom takes them for weaker ones,
/// and knows this order of fences alone.
pub(crate) fn single_order() {
    #[cfg(loom)]
    fence(std::sync::atomic::Ordering::SeqCst);
}
