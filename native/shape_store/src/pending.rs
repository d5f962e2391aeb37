//! What is acknowledged but not committed, by row: bodies that are nowhere else
//! yet, and the names of shapes whose removal is on its way.
//!
//! Small maps behind locks of their own, each held for one look or one change of
//! one map. A lock-free map was measured here and lost: what it retires, it frees
//! with a barrier on every core, and each row is retired within milliseconds.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use foldhash::fast::RandomState;
use parking_lot::RwLock;

use crate::{
    body::Body,
    entry::{Handle, RowId},
    slab::EntryId,
};

const SHARDS: usize = 32;

pub(crate) struct Pending {
    shards: Box<[Shard]>,
}

type Shard = RwLock<HashMap<RowId, Row, RandomState>>;

enum Row {
    Added { id: EntryId, body: Body },
    Removed { handle: Arc<[u8]> },
}

impl Pending {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }

    #[expect(clippy::indexing_slicing, reason = "there are SHARDS shards")]
    fn shard(&self, row: RowId) -> &Shard {
        &self.shards[row as usize % SHARDS]
    }

    /// The body of a row that is not committed.
    pub(crate) fn body(&self, row: RowId) -> Option<Body> {
        match self.shard(row).read().get(&row)? {
            Row::Added { body, .. } => Some(Body::clone(body)),
            Row::Removed { .. } => None,
        }
    }

    pub(crate) fn holds(&self, row: RowId) -> bool {
        matches!(self.shard(row).read().get(&row), Some(Row::Added { .. }))
    }

    pub(crate) fn added(&self, row: RowId, id: EntryId, body: Body) {
        self.shard(row).write().insert(row, Row::Added { id, body });
    }

    pub(crate) fn removed(&self, row: RowId, handle: Arc<[u8]>) {
        // The body, if there was one, is freed when the lock is not held any more.
        let _added = self.shard(row).write().insert(row, Row::Removed { handle });
    }

    /// The add of this row is committed. Its removal may be on its way already,
    /// and then goes on waiting for its own commit: the answer is whether it is not.
    pub(crate) fn add_committed(&self, row: RowId) -> bool {
        let added = match self.shard(row).write().entry(row) {
            Entry::Occupied(there) if matches!(there.get(), Row::Added { .. }) => {
                Some(there.remove())
            }
            _ => None,
        };
        added.is_some()
    }

    /// Whatever was known of this row is done with.
    pub(crate) fn forget(&self, row: RowId) {
        let _there = self.shard(row).write().remove(&row);
    }

    /// Nothing of it will be committed.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            let _rows = std::mem::take(&mut *shard.write());
        }
    }

    /// The ids of the entries whose adds are not committed.
    pub(crate) fn added_ids(&self) -> Vec<(RowId, EntryId)> {
        self.collect(|row, what| match what {
            Row::Added { id, .. } => Some((row, *id)),
            Row::Removed { .. } => None,
        })
    }

    /// The handles of removals that are not committed.
    pub(crate) fn removed_handles(&self) -> Vec<Handle> {
        self.collect(|_, what| match what {
            Row::Added { .. } => None,
            Row::Removed { handle } => Some(Handle::from_slice(handle)),
        })
    }

    fn collect<T>(&self, pick: impl Fn(RowId, &Row) -> Option<T>) -> Vec<T> {
        let mut picked = Vec::new();
        for shard in &self.shards {
            picked.extend(shard.read().iter().filter_map(|(row, what)| pick(*row, what)));
        }
        picked
    }
}
