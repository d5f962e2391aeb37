//! The warm bodies: committed ones kept in memory up to a bound in bytes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use quick_cache::{Weighter, sync::Cache};

use crate::{body::Body, entry::RowId};

/// What an entry of the cache costs apart from the bytes of its body: measured, 97 to 126
/// bytes, for the cache's table and slab, the body itself and the allocator.
const OVERHEAD: u64 = 112;

pub(crate) struct Bodies {
    cache: Cache<RowId, Body, ByBytes>,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<RowId, Body> for ByBytes {
    fn weight(&self, _row: &RowId, body: &Body) -> u64 {
        body.size() as u64 + OVERHEAD
    }
}

impl Bodies {
    pub(crate) fn new(bytes: usize) -> Self {
        let expected = (bytes / 2048).clamp(16, 1024);
        Self {
            cache: Cache::with_weighter(expected, bytes as u64, ByBytes),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    pub(crate) fn get(&self, row: RowId) -> Option<Body> {
        let body = self.cache.get(&row);
        let counter = if body.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Relaxed);
        body
    }

    pub(crate) fn keep(&self, row: RowId, body: Body) {
        self.cache.insert(row, body);
    }

    /// The same for a body that was asked for. The cache takes what it is not asked for a
    /// second time for the first to go, and there are more that nobody ever asked for: those
    /// that were added.
    pub(crate) fn keep_wanted(&self, row: RowId, body: Body) {
        self.keep(row, body);
        self.want(row);
    }

    /// As if it were asked for.
    pub(crate) fn want(&self, row: RowId) {
        let _wanted = self.cache.get(&row);
    }

    pub(crate) fn forget(&self, row: RowId) {
        self.cache.remove(&row);
    }

    /// From now on up to this bound.
    pub(crate) fn resize(&self, bytes: usize) {
        self.cache.set_capacity(bytes as u64);
    }

    pub(crate) fn clear(&self) {
        self.cache.clear();
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    pub(crate) fn hits(&self) -> u64 {
        self.hits.load(Relaxed)
    }

    pub(crate) fn misses(&self) -> u64 {
        self.misses.load(Relaxed)
    }
}
