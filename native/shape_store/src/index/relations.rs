//! Which entries read a table.

use std::{
    collections::BTreeSet,
    ops::Bound::{Excluded, Included},
};

use parking_lot::RwLock;
use smallvec::SmallVec;

use crate::{entry::Oid, index::slab::EntryId};

/// That an entry reads a table: in one number, as a tree compares many.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pair(u64);

impl Pair {
    fn new(oid: Oid, id: EntryId) -> Self {
        Self(u64::from(oid) << EntryId::BITS | u64::from(id))
    }

    pub(crate) fn id(self) -> EntryId {
        self.0 as EntryId
    }
}

/// How many pairs are copied under one hold of the lock.
const CHUNK: usize = 512;

/// One ordered set for all tables. A tree rather than a hash set a table: an
/// insertion never pays for the growth of a set of a million, and a reader takes a
/// long range in short pieces. In the order of ids, so that what is added goes to the
/// end of its table's range, which is in the processor's cache.
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

    /// Calls `visit` with the pairs of a table, in pieces of up to [`CHUNK`], until it
    /// gives `None`. One that is there all the while is in one of them.
    pub(crate) fn pieces(
        &self,
        oid: Oid,
        mut visit: impl FnMut(&[Pair]) -> Option<()>,
    ) -> Option<()> {
        let end = Included(Pair::new(oid, EntryId::MAX));
        let mut start = Included(Pair::new(oid, 0));
        let mut piece = SmallVec::<[Pair; CHUNK]>::new();
        loop {
            piece.extend(self.pairs.read().range((start, end)).take(CHUNK).copied());
            visit(&piece)?;
            match piece.last() {
                Some(last) if piece.len() == CHUNK => start = Excluded(*last),
                _ => return Some(()),
            }
            piece.clear();
        }
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
    oids.iter().map(move |oid| Pair::new(*oid, id))
}
