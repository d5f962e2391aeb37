//! The warm bodies: committed ones kept in memory up to a bound in bytes.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use quick_cache::{Weighter, sync::Cache};

use crate::{body::Body, entry::RowId};

/// What an entry of the cache costs apart from the bytes of its body: measured, 97 to 126
/// bytes, for the cache's table and slab, the body itself and the allocator.
const OVERHEAD: u64 = 112;

pub(crate) struct Bodies {
    cache: Cache<RowId, Body, ByBytes>,
    /// Which of the databases that the store has read from, one after the other.
    database: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// Rows are far below 2^48, and no store reads from 2^16 databases.
fn key(database: u64, row: RowId) -> RowId {
    database << 48 ^ row
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
            database: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The database that bodies are of now.
    pub(crate) fn database(&self) -> u64 {
        // Pairs with `begin_again`: who sees the next database opens no reader of the one
        // before.
        self.database.load(Acquire)
    }

    /// Another database is read from here on.
    pub(crate) fn begin_again(&self) {
        self.database.fetch_add(1, Release);
        self.cache.clear();
    }

    pub(crate) fn get(&self, row: RowId) -> Option<Body> {
        self.get_of(self.database(), row)
    }

    /// The body of a row of this database.
    pub(crate) fn get_of(&self, database: u64, row: RowId) -> Option<Body> {
        let body = self.cache.get(&key(database, row));
        let counter = if body.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Relaxed);
        body
    }

    /// Keeps a body of the database that bodies are of now.
    pub(crate) fn keep(&self, row: RowId, body: Body) {
        self.keep_of(self.database(), row, body);
    }

    /// Keeps a body that was read when bodies were of this database.
    pub(crate) fn keep_of(&self, database: u64, row: RowId, body: Body) {
        self.cache.insert(key(database, row), body);
    }

    pub(crate) fn forget(&self, row: RowId) {
        self.cache.remove(&key(self.database(), row));
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
