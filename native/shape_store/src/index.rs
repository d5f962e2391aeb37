//! The truth: every shape there is, findable by handle, by digest and by table.
//!
//! Readers take no lock and never wait (relations and overlong handles excepted,
//! whose locks are held for a tree or map update). All changes go through one
//! mutator, who proves it by the `&mut Mutator` that the mutation lock guards.
//!
//! An insertion writes the tables first and the cell last: until the cell is
//! filled, an id in a table leads to a vacant cell and counts for nothing, and
//! with the filling the entry is there in every lookup at once. A removal
//! vacates the cell first, and is done everywhere at once in the same way.

mod bulk_load;
pub(crate) mod cell;
mod coldest;
pub(crate) mod flags;
pub(crate) mod images;
mod meta;
pub(crate) mod mutator;
pub(crate) mod relations;
pub(crate) mod seqlock;
pub(crate) mod slab;
pub(crate) mod table;
pub(crate) mod touch;

use std::{
    collections::HashMap,
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use foldhash::quality::RandomState;
use parking_lot::RwLock;

pub(crate) use self::bulk_load::BulkLoad;
use crate::{
    entry::{Digest, Entry, Handle, MAX_HANDLE, Meta, Oid, RowId, Snapshot, sort_handles},
    index::{
        cell::Look,
        flags::Flags,
        images::Images,
        mutator::Mutator,
        relations::{Pair, Relations},
        slab::{EntryId, Slab},
        table::Table,
        touch::Stamp,
    },
};

pub(crate) struct Index {
    slab: Slab,
    by_handle: Table,
    by_digest: Table,
    relations: Relations,
    /// Entries too large for a cell, which are rare.
    overflow: RwLock<HashMap<RowId, Arc<Entry>>>,
    /// Quick rather than safe from collisions made on purpose: handles are the host's.
    handle_hasher: RandomState,
    count: AtomicUsize,
    /// How many have which flags.
    pub(crate) flags: Flags,
    /// What marks were, for who looks at all.
    images: Images,
}

/// Why an entry was not inserted.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// This handle is taken.
    Handle(EntryId, Entry),
    /// An equal shape is there.
    Shape(Entry),
    /// 2^31 shapes are there.
    NoRoom,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self {
            slab: Slab::new(),
            by_handle: Table::new(),
            by_digest: Table::new(),
            relations: Relations::default(),
            overflow: RwLock::default(),
            handle_hasher: RandomState::default(),
            count: AtomicUsize::new(0),
            flags: Flags::new(),
            images: Images::new(),
        }
    }

    /// The entry of a cell, if it is filled.
    pub(crate) fn get(&self, id: EntryId) -> Option<Entry> {
        self.whole(self.slab.get(id)?.look())
    }

    /// The snapshot of this row's entry as the file has it or is to have it: without what is
    /// known in memory alone.
    pub(crate) fn saved_snapshot(
        &self,
        _mutator: &mut Mutator,
        id: EntryId,
        row: RowId,
    ) -> Option<Snapshot> {
        self.slab.get(id)?.saved_snapshot(row)
    }

    /// The snapshot of a cell's entry.
    pub(crate) fn snapshot(&self, _mutator: &mut Mutator, id: EntryId) -> Option<Snapshot> {
        self.slab.get(id)?.snapshot()
    }

    pub(crate) fn by_handle(&self, handle: &[u8]) -> Option<(EntryId, Entry)> {
        self.by_handle.find(self.hash_handle(handle), |id| self.with_handle(id, handle))
    }

    /// The same for the mutator, who need not keep an array from being freed.
    pub(crate) fn known(&self, mutator: &Mutator, handle: &[u8]) -> Option<(EntryId, Entry)> {
        mutator.by_handle.find(self.hash_handle(handle), |id| self.with_handle(id, handle))
    }

    pub(crate) fn by_digest(&self, digest: &Digest) -> Option<(EntryId, Entry)> {
        self.by_digest.find(hash_digest(digest), |id| self.with_digest(id, digest))
    }

    fn with_handle(&self, id: EntryId, handle: &[u8]) -> Option<(EntryId, Entry)> {
        self.get(id).filter(|entry| entry.handle.as_slice() == handle).map(|entry| (id, entry))
    }

    fn with_digest(&self, id: EntryId, digest: &Digest) -> Option<(EntryId, Entry)> {
        self.get(id).filter(|entry| entry.digest == *digest).map(|entry| (id, entry))
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// The handles of all entries that read one of these tables, sorted, without
    /// repetition. `None` when there are more than `limit`, of which one that reads
    /// two of the tables counts twice.
    pub(crate) fn for_relations(&self, oids: &[Oid], limit: usize) -> Option<Vec<Handle>> {
        let mut handles = Vec::new();
        for oid in oids {
            self.relations.pieces(*oid, |piece| {
                self.handles_of(*oid, piece, &mut handles);
                (handles.len() <= limit).then_some(())
            })?;
        }
        sort_handles(&mut handles);
        Some(handles)
    }

    /// Puts the handles of the entries with these relations to a table there. A cell may have
    /// been filled again since: by an entry that does not read the table, which is left
    /// out, or by one that does, which perhaps comes once more.
    fn handles_of(&self, oid: Oid, piece: &[Pair], handles: &mut Vec<Handle>) {
        handles.reserve(piece.len());
        for pair in piece {
            let Some(cell) = self.slab.get(pair.id()) else { continue };
            match cell.look_for(oid) {
                Look::Vacant => {}
                Look::Inline(handle) => handles.push(handle),
                Look::Overflow { row, .. } => {
                    let overflow = self.overflow.read();
                    let entry = overflow.get(&row).filter(|entry| entry.oids.contains(&oid));
                    handles.extend(entry.map(|entry| entry.handle.clone()));
                }
            }
        }
    }

    /// Puts an entry in that was never read, unless its handle or an equal shape is
    /// there. `before` runs when that is settled and nobody can find it yet.
    pub(crate) fn insert(
        &self,
        mutator: &mut Mutator,
        entry: &Entry,
        before: impl FnOnce(EntryId),
    ) -> Result<EntryId, Refusal> {
        self.insert_read(mutator, entry, Stamp::NEVER, before)
    }

    /// The same for an entry that was last read at this time.
    pub(crate) fn insert_read(
        &self,
        mutator: &mut Mutator,
        entry: &Entry,
        read: Stamp,
        before: impl FnOnce(EntryId),
    ) -> Result<EntryId, Refusal> {
        let Mutator { free, by_handle, by_digest } = mutator;
        let hash = self.hash_handle(&entry.handle);
        let handle = self.by_handle.seek(by_handle, hash, |id| self.with_handle(id, &entry.handle));
        let handle = handle.map_err(|(id, there)| Refusal::Handle(id, there))?;
        let hash = hash_digest(&entry.digest);
        let digest = self.by_digest.seek(by_digest, hash, |id| self.with_digest(id, &entry.digest));
        let digest = digest.map_err(|(_, there)| Refusal::Shape(there))?;
        let (id, cell, mark) = self.slab.allocate(free).ok_or(Refusal::NoRoom)?;
        if !entry.fits_inline() {
            self.overflow.write().insert(entry.row, Arc::new(entry.clone()));
        }
        self.relations.insert(&entry.oids, id);
        handle.fill(id);
        digest.fill(id);
        before(id);
        if read != Stamp::NEVER
            && let Some(look) = self.images.look()
        {
            self.images.note(look, id, entry.row, Stamp::NEVER);
        }
        cell.fill(entry, mark, read);
        self.count.store(self.count() + 1, Relaxed);
        self.flags.came(entry.flags);
        Ok(id)
    }

    /// Takes the entry of this id out.
    pub(crate) fn remove(&self, mutator: &mut Mutator, id: EntryId, entry: &Entry) {
        let Some((cell, mark)) = self.slab.slot(id) else { return };
        self.flags.went(cell.flags());
        cell.vacate(mark);
        self.count.store(self.count() - 1, Relaxed);
        mutator.by_digest.remove(hash_digest(&entry.digest), id);
        mutator.by_handle.remove(self.hash_handle(&entry.handle), id);
        self.relations.remove(&entry.oids, id);
        if !entry.fits_inline() {
            self.overflow.write().remove(&entry.row);
        }
        // Last: from here on the cell may be filled again.
        mutator.free.release(id);
    }

    /// Sets an entry's snapshot as the file has it or is to have it.
    pub(crate) fn set_snapshot(&self, _mutator: &mut Mutator, id: EntryId, snapshot: Snapshot) {
        if let Some(cell) = self.slab.get(id) {
            cell.set_snapshot(snapshot);
        }
    }

    /// Sets what is known of it in memory alone, beside what the file has.
    pub(crate) fn set_snapshot_in_memory(
        &self,
        _mutator: &mut Mutator,
        id: EntryId,
        snapshot: Snapshot,
    ) {
        if let Some(cell) = self.slab.get(id) {
            cell.set_snapshot_in_memory(snapshot);
        }
    }

    /// Frees what is many small pieces of memory. For an index that nobody asks
    /// any more: the rest is not touched.
    pub(crate) fn clear(&self) {
        self.relations.clear();
        self.overflow.write().clear();
    }

    /// Bytes held, tables and cells together.
    pub(crate) fn bytes(&self) -> usize {
        self.slab.bytes()
            + self.by_handle.bytes()
            + self.by_digest.bytes()
            + self.relations.bytes()
            + self.overflow.read().len() * size_of::<Entry>()
    }

    /// A longer handle is none of ours, which is found when it is compared: to hash all of
    /// it may take long.
    fn hash_handle(&self, handle: &[u8]) -> u64 {
        self.handle_hasher.hash_one(handle.get(..MAX_HANDLE).unwrap_or(handle))
    }
}

/// A digest is uniform already; any eight bytes of it will do.
fn hash_digest(digest: &Digest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = digest.0;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests;
