//! What is acknowledged but not committed, by row: bodies that are nowhere else
//! yet, and the names of shapes whose removal is on its way.
//!
//! Small maps behind locks of their own, each held for one look or one change of
//! one map. A lock-free map was measured here and lost: what it retires, it frees
//! with a barrier on every core, and each row is retired within milliseconds.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::BuildHasher as _,
    sync::{Arc, OnceLock},
};

use foldhash::fast::RandomState;
use parking_lot::RwLock;

use crate::{
    cache::body::Body,
    entry::{Handle, MAX_HANDLE, RowId},
    index::slab::EntryId,
};

/// A list copies a shard with its lock held, and a change that has the mutation lock may
/// wait for that: there are so many shards that one of a full queue has a thousand rows.
/// They are made a group at a time, as a store of few shapes needs few.
const SHARDS: usize = GROUPS * IN_GROUP;
const GROUPS: usize = 16;
const IN_GROUP: usize = 16;

const REMOVED_SHARDS: usize = 16;

pub(crate) struct Pending {
    groups: [OnceLock<Box<[Shard; IN_GROUP]>>; GROUPS],
    /// How many removals of a handle are pending, by the handle.
    removed: [RemovedShard; REMOVED_SHARDS],
    hasher: RandomState,
}

type Shard = RwLock<HashMap<RowId, Row, RandomState>>;
type RemovedShard = RwLock<HashMap<Arc<[u8]>, usize, RandomState>>;

enum Row {
    Added { id: EntryId, body: Body },
    Removed { handle: Arc<[u8]> },
}

impl Pending {
    pub(crate) fn new() -> Self {
        Self {
            groups: Default::default(),
            removed: Default::default(),
            hasher: RandomState::default(),
        }
    }

    /// The shard of a row, if any row of its group was ever pending.
    #[expect(clippy::indexing_slicing, reason = "there are GROUPS groups of IN_GROUP shards")]
    fn shard(&self, row: RowId) -> Option<&Shard> {
        let place = row as usize % SHARDS;
        Some(&self.groups[place / IN_GROUP].get()?[place % IN_GROUP])
    }

    #[expect(clippy::indexing_slicing, reason = "there are GROUPS groups of IN_GROUP shards")]
    fn shard_to_fill(&self, row: RowId) -> &Shard {
        let place = row as usize % SHARDS;
        &self.groups[place / IN_GROUP].get_or_init(Box::default)[place % IN_GROUP]
    }

    fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.groups.iter().filter_map(OnceLock::get).flat_map(|group| group.iter())
    }

    #[expect(clippy::indexing_slicing, reason = "there are REMOVED_SHARDS shards")]
    fn removed_shard(&self, handle: &[u8]) -> &RemovedShard {
        &self.removed[self.hasher.hash_one(handle) as usize % REMOVED_SHARDS]
    }

    /// The body of a row that is not committed.
    pub(crate) fn body(&self, row: RowId) -> Option<Body> {
        match self.shard(row)?.read().get(&row)? {
            Row::Added { body, .. } => Some(Body::clone(body)),
            Row::Removed { .. } => None,
        }
    }

    pub(crate) fn holds(&self, row: RowId) -> bool {
        self.shard(row)
            .is_some_and(|shard| matches!(shard.read().get(&row), Some(Row::Added { .. })))
    }

    /// Whether a removal of this handle is not committed.
    pub(crate) fn is_removed(&self, handle: &[u8]) -> bool {
        // Nothing has a longer handle, and to hash it may take long.
        handle.len() <= MAX_HANDLE && self.removed_shard(handle).read().contains_key(handle)
    }

    pub(crate) fn added(&self, row: RowId, id: EntryId, body: Body) {
        self.shard_to_fill(row).write().insert(row, Row::Added { id, body });
    }

    pub(crate) fn removed(&self, row: RowId, handle: Arc<[u8]>) {
        *self.removed_shard(&handle).write().entry(Arc::clone(&handle)).or_default() += 1;
        // The body, if there was one, is freed when the lock is not held any more.
        let _added = self.shard_to_fill(row).write().insert(row, Row::Removed { handle });
    }

    /// The add of this row is committed. Its removal may be on its way already,
    /// and then goes on waiting for its own commit: the answer is whether it is not.
    pub(crate) fn add_committed(&self, row: RowId) -> bool {
        let Some(shard) = self.shard(row) else { return false };
        let added = match shard.write().entry(row) {
            Entry::Occupied(there) if matches!(there.get(), Row::Added { .. }) => {
                Some(there.remove())
            }
            _ => None,
        };
        added.is_some()
    }

    /// Whatever was known of this row is done with.
    pub(crate) fn forget(&self, row: RowId) {
        let there = self.shard(row).and_then(|shard| shard.write().remove(&row));
        if let Some(Row::Removed { handle }) = there {
            self.forget_removal(handle);
        }
    }

    fn forget_removal(&self, handle: Arc<[u8]>) {
        if let Entry::Occupied(mut count) = self.removed_shard(&handle).write().entry(handle) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Forgets all of it: none of it will be committed.
    pub(crate) fn clear(&self) {
        for shard in self.shards() {
            let rows = std::mem::take(&mut *shard.write());
            // Removed one by one, so that a removal that comes meanwhile is counted.
            for row in rows.into_values() {
                if let Row::Removed { handle } = row {
                    self.forget_removal(handle);
                }
            }
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
        let handles = self.collect(|_, what| match what {
            Row::Added { .. } => None,
            Row::Removed { handle } => Some(Arc::clone(handle)),
        });
        handles.iter().map(|handle| Handle::from_slice(handle)).collect()
    }

    /// As little as there is to do with a shard's lock held: no memory is asked for
    /// that is not there already, as a rule.
    fn collect<T>(&self, pick: impl Fn(RowId, &Row) -> Option<T>) -> Vec<T> {
        let mut all = Vec::new();
        for shard in self.shards() {
            let mut picked = Vec::with_capacity(shard.read().len());
            picked.extend(shard.read().iter().filter_map(|(row, what)| pick(*row, what)));
            all.append(&mut picked);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::channel, thread, time::Duration};

    use super::*;

    const ROWS: RowId = 10 * SHARDS as RowId;

    /// Each third row is removed.
    fn filled() -> Pending {
        let pending = Pending::new();
        for row in 0..ROWS {
            match row % 3 {
                0 => pending.removed(row, handle(row)),
                _ => pending.added(row, 0, Body::plain(b"body")),
            }
        }
        pending
    }

    fn handle(row: RowId) -> Arc<[u8]> {
        row.to_string().as_bytes().into()
    }

    /// A change that has the mutation lock waits for such a look at most.
    #[test]
    fn a_look_takes_the_lock_of_its_own_shard_alone() {
        let pending = Arc::new(filled());
        for (row, added) in [(0, false), (1, true)] {
            let own = pending.shard(row).map(std::ptr::from_ref);
            let others = pending.shards().filter(|shard| Some(std::ptr::from_ref(*shard)) != own);
            let held: Vec<_> = others.map(RwLock::write).collect();
            let own = std::ptr::from_ref(pending.removed_shard(&handle(row)));
            let others = pending.removed.iter().filter(|shard| std::ptr::from_ref(*shard) != own);
            let removals: Vec<_> = others.map(RwLock::write).collect();
            let (sender, told) = channel();
            let looker = Arc::clone(&pending);
            thread::spawn(move || {
                let body = looker.body(row).is_some();
                sender.send((looker.holds(row), body, looker.is_removed(&handle(row))))
            });
            let seen = told.recv_timeout(Duration::from_secs(30));
            drop((held, removals));
            assert_eq!(seen, Ok((added, added, !added)));
        }
    }

    /// A list keeps a change waiting for as long as it takes to look at one shard, which has
    /// its even part of the rows.
    #[test]
    fn a_list_locks_one_small_shard_at_a_time() {
        let pending = filled();
        let largest = pending.shards().map(|shard| shard.read().len()).max();
        assert_eq!(largest, Some(ROWS as usize / SHARDS));
        let listed = pending.collect(|row, _| {
            let locked = pending.shards().filter(|shard| shard.try_write().is_none());
            assert_eq!(locked.count(), 1);
            assert!(pending.removed.iter().all(|shard| shard.try_write().is_some()));
            Some(row)
        });
        assert_eq!(listed.len(), ROWS as usize);
        assert_eq!(pending.added_ids().len() + pending.removed_handles().len(), listed.len());
    }
}
