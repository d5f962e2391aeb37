//! The warm bodies: committed ones kept in memory up to a bound in bytes.

pub(crate) mod body;

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use foldhash::fast::RandomState;
use quick_cache::{
    Weighter,
    sync::{Cache, DefaultLifecycle},
};

use crate::{cache::body::Body, entry::RowId};

/// What an entry of the cache costs apart from the bytes of its body: measured, 97 to 126
/// bytes, for the cache's table and slab, the body itself and the allocator.
const OVERHEAD: u64 = 112;

pub(crate) struct BodyCache {
    cache: Cache<BodyKey, Body, ByBytes, RandomState>,
    /// Which of the databases that the store has read from, one after the other.
    database: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// Names a body among all that a store reads in its life: its row, and which of the databases
/// it is of that were read one after the other.
pub type BodyKey = u64;

/// Rows are far below 2^48, and no store reads from 2^16 databases.
pub(crate) fn key(database: u64, row: RowId) -> BodyKey {
    database << 48 ^ row
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<BodyKey, Body> for ByBytes {
    fn weight(&self, _key: &BodyKey, body: &Body) -> u64 {
        body.size() as u64 + OVERHEAD
    }
}

impl BodyCache {
    pub(crate) fn new(bytes: usize) -> Self {
        let expected = (bytes / 2048).clamp(16, 1024);
        Self {
            cache: Cache::with(
                expected,
                bytes as u64,
                ByBytes,
                RandomState::default(),
                DefaultLifecycle::default(),
            ),
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

    /// The body of a row of the database that bodies are of now.
    pub(crate) fn get(&self, row: RowId) -> Option<Body> {
        self.get_by(key(self.database(), row))
    }

    pub(crate) fn get_by(&self, key: BodyKey) -> Option<Body> {
        let body = self.cache.get(&key);
        let counter = if body.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Relaxed);
        body
    }

    /// Keeps a body of the database that bodies are of now.
    pub(crate) fn keep(&self, row: RowId, body: Body) {
        self.cache.insert(key(self.database(), row), body);
    }

    /// Keeps a body that was asked for. The cache takes what it is not asked for a second time
    /// for the first to go, and there are more that nobody ever asked for: those that were
    /// added.
    pub(crate) fn keep_wanted(&self, key: BodyKey, body: Body) {
        self.cache.insert(key, body);
        self.want(key);
    }

    /// Counts as a read of the body, if it is there.
    pub(crate) fn want(&self, key: BodyKey) {
        let _wanted = self.cache.get(&key);
    }

    pub(crate) fn forget(&self, row: RowId) {
        self.cache.remove(&key(self.database(), row));
    }

    /// Keeps up to so many bytes from now on.
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
