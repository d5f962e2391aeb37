//! Which entries read a table.

use std::{
    collections::BTreeSet,
    ops::Bound::{Excluded, Included},
};

use parking_lot::RwLock;
use smallvec::SmallVec;

use crate::{
    entry::{Entry, Oid, prefix},
    slab::EntryId,
};

/// How many relations are copied under one hold of the lock.
const CHUNK: usize = 512;

/// That an entry reads a table, as one number: the oid, the first bytes of the
/// entry's handle, its id. So those of a table are nearly in the order of handles.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Relation(u128);

impl Relation {
    fn new(oid: Oid, prefix: u64, id: EntryId) -> Self {
        Self(u128::from(oid) << 96 | u128::from(prefix) << 32 | u128::from(id))
    }

    fn of(entry: &Entry, id: EntryId) -> impl Iterator<Item = Self> {
        let prefix = prefix(&entry.handle);
        entry.oids.iter().map(move |oid| Self::new(*oid, prefix, id))
    }

    pub(crate) fn id(self) -> EntryId {
        self.0 as EntryId
    }
}

/// One ordered set for all tables. A tree rather than a hash set a table: an
/// insertion never pays for the growth of a set of a million, and a reader takes a
/// long range in short pieces.
#[derive(Default)]
pub(crate) struct Relations {
    set: RwLock<BTreeSet<Relation>>,
}

impl Relations {
    pub(crate) fn insert(&self, entry: &Entry, id: EntryId) {
        self.set.write().extend(Relation::of(entry, id));
    }

    pub(crate) fn remove(&self, entry: &Entry, id: EntryId) {
        let mut set = self.set.write();
        for relation in Relation::of(entry, id) {
            set.remove(&relation);
        }
    }

    /// Calls `visit` with the relations of a table, ascending, in pieces of up to
    /// [`CHUNK`], until it gives `None`. One that is there all the while is in one of
    /// them.
    pub(crate) fn pieces(
        &self,
        oid: Oid,
        mut visit: impl FnMut(&[Relation]) -> Option<()>,
    ) -> Option<()> {
        let end = Included(Relation::new(oid, u64::MAX, EntryId::MAX));
        let mut start = Included(Relation::new(oid, 0, 0));
        let mut piece = SmallVec::<[Relation; CHUNK]>::new();
        loop {
            piece.extend(self.set.read().range((start, end)).take(CHUNK).copied());
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
        let _set = std::mem::take(&mut *self.set.write());
    }

    /// Bytes of the tree, as an estimate: its nodes are two thirds full.
    pub(crate) fn bytes(&self) -> usize {
        self.set.read().len() * size_of::<Relation>() * 3 / 2
    }
}
