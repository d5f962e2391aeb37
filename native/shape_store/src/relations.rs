//! Which entries read a table.

use std::collections::BTreeSet;

use parking_lot::RwLock;

use crate::{entry::Oid, slab::EntryId};

/// That an entry reads a table.
pub(crate) type Pair = (Oid, EntryId);

/// How many ids are copied under one hold of the lock.
const CHUNK: usize = 512;

/// One ordered set of `(oid, id)` for all tables. A tree rather than a hash set
/// a table: an insertion never pays for the growth of a set of a million, and a
/// reader takes a long range in short pieces.
#[derive(Default)]
pub(crate) struct Relations {
    pairs: RwLock<BTreeSet<Pair>>,
}

impl Relations {
    pub(crate) fn insert(&self, oids: &[Oid], id: EntryId) {
        self.pairs.write().extend(pairs(oids, id));
    }

    /// Puts these in place of all there were.
    pub(crate) fn install(&self, pairs: BTreeSet<Pair>) {
        *self.pairs.write() = pairs;
    }

    pub(crate) fn remove(&self, oids: &[Oid], id: EntryId) {
        let mut there = self.pairs.write();
        for pair in pairs(oids, id) {
            there.remove(&pair);
        }
    }

    /// Up to [`CHUNK`] ids of a table, from `start` on, ascending; and where the
    /// next piece starts, if there may be one.
    pub(crate) fn piece(&self, oid: Oid, start: EntryId) -> (Vec<EntryId>, Option<EntryId>) {
        let pairs = self.pairs.read();
        let range = pairs.range((oid, start)..=(oid, EntryId::MAX));
        let ids: Vec<_> = range.take(CHUNK).map(|(_, id)| *id).collect();
        let next = ids.last().filter(|_| ids.len() == CHUNK).map(|id| id + 1);
        (ids, next)
    }

    pub(crate) fn clear(&self) {
        // Dropped when the lock is not held any more.
        let _pairs = std::mem::take(&mut *self.pairs.write());
    }

    /// Bytes of the tree, as an estimate: its nodes are two thirds full.
    pub(crate) fn bytes(&self) -> usize {
        self.pairs.read().len() * size_of::<Pair>() * 3 / 2
    }
}

/// What the relations hold of an entry.
pub(crate) fn pairs(oids: &[Oid], id: EntryId) -> impl Iterator<Item = Pair> {
    oids.iter().map(move |oid| (*oid, id))
}
