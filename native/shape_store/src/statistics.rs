//! The numbers of a store.

use std::sync::atomic::{AtomicI64, AtomicU64};

use crate::{queue::Seq, trouble::CurrentTrouble};

/// What is counted as it happens.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) faults: AtomicU64,
    pub(crate) set_aside: AtomicU64,
    pub(crate) last_commit_us: AtomicU64,
    pub(crate) last_commit_ops: AtomicU64,
    pub(crate) epoch: AtomicI64,
    pub(crate) lost: AtomicU64,
    pub(crate) rebuilds: AtomicU64,
    pub(crate) quarantined: AtomicU64,
    /// Whether another file has to take the place of the one there is, and cannot yet.
    pub(crate) rebuilding: AtomicU64,
    pub(crate) given_up: AtomicU64,
    /// Of all batches together.
    pub(crate) commit_us: AtomicU64,
    pub(crate) commit_ops: AtomicU64,
    /// When the commit began that has not ended, in milliseconds since 1970; else 0.
    pub(crate) committing_since_ms: AtomicU64,
    /// When the state was entered that there is, in milliseconds since 1970.
    pub(crate) role_since_ms: AtomicU64,
    /// Whether the file was found closed in order.
    pub(crate) found_clean: AtomicU64,
    pub(crate) trouble: CurrentTrouble,
}

/// A look at the numbers of a store.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Statistics {
    /// Connections open.
    pub connections: usize,
    /// Shapes.
    pub shapes: usize,
    /// Bytes of the index.
    pub index_bytes: usize,
    /// Operations not committed.
    pub pending_ops: usize,
    /// Bytes they count for.
    pub pending_bytes: usize,
    /// Bytes of warm bodies.
    pub cache_bytes: u64,
    /// Lookups of committed bodies that the cache answered, and did not.
    pub cache_hits: u64,
    /// See `cache_hits`.
    pub cache_misses: u64,
    /// Batches committed.
    pub commits: u64,
    /// Operations in the last one, and how long it took in microseconds.
    pub last_commit_ops: u64,
    /// See `last_commit_ops`.
    pub last_commit_us: u64,
    /// The durable number, or that of the last change given up.
    pub durable: Seq,
    /// Tries to commit or to follow that failed.
    pub faults: u64,
    /// Operations SQLite refused for themselves.
    pub set_aside: u64,
    /// The epoch this store writes under, or wrote under last; 0 when it never did.
    pub epoch: i64,
    /// Shapes whose bodies were damaged in the file or taken out of it, and which are gone.
    pub lost: u64,
    /// How often the file was written anew from memory.
    pub rebuilds: u64,
    /// Files that were moved aside.
    pub quarantined: u64,
    /// 1 while the file has to be written anew and cannot be yet, else 0.
    pub rebuilding: u64,
    /// Operations given up when another instance took the writing over.
    pub given_up: u64,
    /// How long all batches took together, in microseconds.
    pub commit_us: u64,
    /// Operations in all batches.
    pub commit_ops: u64,
    /// The state as a number; see [`crate::State`].
    pub role: u64,
    /// When it was entered, in milliseconds since 1970.
    pub role_since_ms: u64,
    /// 1 when the file was found closed in order, 0 when it was not or is not known.
    pub found_clean: u64,
    /// Since when commits fail, or the following of a writer, in milliseconds since 1970; else
    /// 0.
    pub failing_since_ms: u64,
    /// Since when a commit is under way, in milliseconds since 1970; 0 while none is.
    pub committing_since_ms: u64,
    /// How often that failed since.
    pub failures: u64,
    /// Callers that wait for room in the queue.
    pub waiting: usize,
    /// The bounds of the queue.
    pub max_pending_ops: usize,
    /// See `max_pending_ops`.
    pub max_pending_bytes: usize,
}
