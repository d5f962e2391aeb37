//! What is acknowledged but not committed: by row, bodies that are nowhere else yet; by
//! handle, the shapes whose removal is on its way.
//!
//! Small maps behind locks of their own, each held for one look or one change of
//! one map. A lock-free map was measured here and lost: what it retires, it frees
//! with a barrier on every core, and each row is retired within milliseconds.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, BuildHasherDefault, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use foldhash::fast::RandomState;

use crate::{
    cache::body::Body,
    entry::{Handle, MAX_HANDLE, RowId},
    index::slab::EntryId,
    queue::{
        removals::Removals,
        shards::{SHARDS, Shards},
    },
};

pub(crate) struct Pending {
    added: Shards<HashMap<RowId, Added, BuildHasherDefault<InOrder>>>,
    removed: Shards<Removals>,
    /// All rows below this one are removed, though the index may have some of them yet.
    reset_below: AtomicU64,
    hasher: RandomState,
}

struct Added {
    id: EntryId,
    body: Body,
}

impl Pending {
    pub(crate) fn new() -> Self {
        Self {
            added: Shards::new(),
            removed: Shards::new(),
            reset_below: AtomicU64::new(0),
            hasher: RandomState::default(),
        }
    }

    /// The body of a row that is not committed.
    pub(crate) fn body(&self, row: RowId) -> Option<Body> {
        self.added.get(place_of(row))?.read().get(&row).map(|added| Body::clone(&added.body))
    }

    pub(crate) fn holds(&self, row: RowId) -> bool {
        self.added.get(place_of(row)).is_some_and(|shard| shard.read().contains_key(&row))
    }

    /// Whether a removal of this handle is not committed.
    pub(crate) fn is_removed(&self, handle: &[u8]) -> bool {
        // Nothing has a longer handle, and to hash it may take long.
        if handle.len() > MAX_HANDLE {
            return false;
        }
        let hash = self.hash(handle);
        let Some(shard) = self.removed.get(place(hash)) else { return false };
        let found = shard.read().contains(handle, hash);
        found.unwrap_or_else(|| {
            let mut shard = shard.write();
            shard.fill_table(|handle| self.hash(handle));
            shard.contains(handle, hash) == Some(true)
        })
    }

    pub(crate) fn added(&self, row: RowId, id: EntryId, body: Body) {
        self.added.get_to_fill(place_of(row)).write().insert(row, Added { id, body });
    }

    /// Also ends what was known of its add.
    pub(crate) fn removed(&self, row: RowId, handle: Arc<[u8]>) {
        self.removed.get_to_fill(place(self.hash(&handle))).write().push(handle);
        self.forget_add(row);
    }

    /// The add of this row is committed, or given up. The answer is whether it was there: not
    /// if the removal of its shape is on its way already.
    pub(crate) fn forget_add(&self, row: RowId) -> bool {
        // The body is freed when the lock is not held any more.
        let added = self.added.get(place_of(row)).and_then(|shard| shard.write().remove(&row));
        added.is_some()
    }

    /// The removal that came with this very handle is committed.
    pub(crate) fn forget_removal(&self, handle: &Arc<[u8]>) {
        let hash = self.hash(handle);
        if let Some(shard) = self.removed.get(place(hash)) {
            shard.write().forget(handle, hash);
        }
    }

    /// All rows below this one are about to be taken out of the index. Before their removal
    /// can be committed.
    pub(crate) fn reset(&self, below: RowId) {
        self.reset_below.fetch_max(below, Relaxed);
    }

    /// Whether a shape that the index has is to be found in the file.
    pub(crate) fn is_committed(&self, row: RowId) -> bool {
        !self.holds(row) && row >= self.reset_below.load(Relaxed)
    }

    /// Forgets all of it: none of it will be committed.
    pub(crate) fn clear(&self) {
        self.added.clear();
        self.removed.clear();
        self.reset_below.store(0, Relaxed);
    }

    /// Gives memory back that nothing is in.
    pub(crate) fn shrink(&self) {
        self.added.clear_if(HashMap::is_empty);
        self.removed.clear_if(Removals::is_empty);
    }

    /// The ids of the entries whose adds are not committed.
    pub(crate) fn added_ids(&self) -> Vec<(RowId, EntryId)> {
        self.added.collect(HashMap::len, |shard, ids| {
            ids.extend(shard.iter().map(|(row, added)| (*row, added.id)));
        })
    }

    /// The handles of removals that are not committed.
    pub(crate) fn removed_handles(&self) -> Vec<Handle> {
        let handles = self.removed.collect(Removals::least, |shard, handles| {
            handles.extend(shard.handles().map(Arc::clone));
        });
        handles.iter().map(|handle| Handle::from_slice(handle)).collect()
    }

    fn hash(&self, handle: &[u8]) -> u64 {
        self.hasher.hash_one(handle)
    }
}

/// Which shard is of a row. Rows are given in order, and those that are pending are a range
/// of them: a few that follow each other are of one shard, and in it beside each other. So
/// what is written next is in the processor's cache.
fn place_of(row: RowId) -> u64 {
    row / BESIDE
}

const BESIDE: u64 = 32;

/// The rows of a shard, counted.
#[derive(Default)]
struct InOrder(u64);

impl Hasher for InOrder {
    fn write_u64(&mut self, row: RowId) {
        let number = row / (BESIDE * SHARDS as u64) * BESIDE + row % BESIDE;
        // A map goes by the lowest bits, and by the highest seven.
        self.0 = number | number << 57;
    }

    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(RowId::from(*byte)));
    }
}

/// Which shard is of a hash: by bits that a table does not go by.
fn place(hash: u64) -> u64 {
    hash >> u32::BITS
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::channel, thread, time::Duration};

    use parking_lot::RwLock;

    use super::*;

    const ROWS: RowId = 96 * SHARDS as RowId;
    const ADDED_IN_SHARD: usize = 64;

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
            let own_add = pending.added.get(place_of(row)).map(std::ptr::from_ref);
            let hash = pending.hash(&handle(row));
            let own_removal = pending.removed.get(place(hash)).map(std::ptr::from_ref);
            let adds =
                pending.added.all().filter(|shard| Some(std::ptr::from_ref(*shard)) != own_add);
            let removals = pending
                .removed
                .all()
                .filter(|shard| Some(std::ptr::from_ref(*shard)) != own_removal);
            let held: (Vec<_>, Vec<_>) =
                (adds.map(RwLock::write).collect(), removals.map(RwLock::write).collect());
            let (sender, told) = channel();
            let looker = Arc::clone(&pending);
            thread::spawn(move || {
                let body = looker.body(row).is_some();
                sender.send((looker.holds(row), body, looker.is_removed(&handle(row))))
            });
            let seen = told.recv_timeout(Duration::from_secs(30));
            drop(held);
            assert_eq!(seen, Ok((added, added, !added)));
        }
    }

    /// A list keeps a change waiting for as long as it takes to look at one shard, which has
    /// its part of the rows, even for adds and about even for removals.
    #[test]
    fn a_list_locks_one_small_shard_at_a_time() {
        let pending = filled();
        let largest = pending.added.all().map(|shard| shard.read().len()).max();
        assert_eq!(largest, Some(ADDED_IN_SHARD));
        let largest = pending.removed.all().map(|shard| shard.read().least()).max();
        assert!(largest < Some(4 * (ROWS as usize / 3) / SHARDS), "{largest:?}");
        let locked = |added, removed| {
            let adds = pending.added.all().filter(|shard| shard.try_write().is_none()).count();
            let removals =
                pending.removed.all().filter(|shard| shard.try_write().is_none()).count();
            assert_eq!((adds, removals), (added, removed));
        };
        let adds = pending.added.collect(HashMap::len, |shard, rows| {
            locked(1, 0);
            rows.extend(shard.keys().copied());
        });
        let removals = pending.removed.collect(Removals::least, |shard, handles| {
            locked(0, 1);
            handles.extend(shard.handles().map(Arc::clone));
        });
        assert_eq!(adds.len() + removals.len(), ROWS as usize);
        assert_eq!(pending.added_ids().len(), adds.len());
        assert_eq!(pending.removed_handles().len(), removals.len());
    }

    /// A handle may be taken, given back and taken again before anything of it is committed.
    #[test]
    fn a_handle_is_removed_until_the_last_of_its_removals_is_committed() {
        let pending = Pending::new();
        let removals = [1, 2].map(|row| {
            pending.added(row, 0, Body::plain(b"body"));
            let taken = handle(7);
            pending.removed(row, Arc::clone(&taken));
            assert!(!pending.holds(row) && !pending.forget_add(row));
            taken
        });
        pending.removed(3, handle(8));
        let is_removed = || (pending.is_removed(&handle(7)), pending.is_removed(&handle(8)));
        assert_eq!(is_removed(), (true, true));
        // After somebody asked, as those before.
        let last = handle(7);
        pending.removed(4, Arc::clone(&last));
        for (removal, left) in removals.iter().chain([&last]).zip([true, true, false]) {
            pending.forget_removal(removal);
            assert_eq!(is_removed(), (left, true));
        }
        pending.clear();
        assert!(!pending.is_removed(&handle(8)));
    }
}
