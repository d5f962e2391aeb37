//! The filling of an empty index that nobody asks yet: the cells one after the other, and
//! in the end the tables and the relations, each in one go. An insertion of each
//! entry would look at a place in each table that is not in the processor's cache.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use super::{Index, hash_digest};
use crate::{
    entry::Entry,
    index::{
        mutator::Mutator,
        relations::{self, Pair},
        table::{Arrays, TableBuilder},
        touch::Stamp,
    },
};

pub(crate) struct BulkLoad<'a> {
    index: &'a Index,
    by_handle: TableBuilder,
    by_digest: TableBuilder,
    pairs: Vec<Pair>,
}

/// The tables and relations of an index whose cells are filled.
pub(crate) struct BuiltTables {
    by_handle: Arrays,
    by_digest: Arrays,
    pairs: BTreeSet<Pair>,
}

impl<'a> BulkLoad<'a> {
    pub(crate) fn new(index: &'a Index) -> Self {
        let (by_handle, by_digest) = (TableBuilder::new(), TableBuilder::new());
        Self { index, by_handle, by_digest, pairs: Vec::new() }
    }

    /// Fills a cell with an entry that was last read at this time; false when there is no cell
    /// to be had. No lookup finds the entry before [`Index::install`].
    pub(crate) fn push(&mut self, mutator: &mut Mutator, entry: &Entry, read: Stamp) -> bool {
        let Some((id, cell, mark)) = self.index.slab.allocate(&mut mutator.free) else {
            return false;
        };
        if !entry.fits_inline() {
            self.index.overflow.write().insert(entry.row, Arc::new(entry.clone()));
        }
        cell.fill(entry, mark, read);
        self.index.count.store(self.index.count() + 1, Relaxed);
        self.index.flags.came(entry.flags);
        self.by_handle.push(self.index.hash_handle(&entry.handle), id);
        self.by_digest.push(hash_digest(&entry.digest), id);
        self.pairs.extend(relations::pairs(&entry.oids, id));
        true
    }

    /// Makes the tables and the relations. `None` when two entries have one handle
    /// or one digest.
    pub(crate) fn finish(self) -> Option<BuiltTables> {
        let Self { index, by_handle, by_digest, pairs } = self;
        let get = |id| index.get(id);
        let handles = |one, other| get(one).map(|e| e.handle) == get(other).map(|e| e.handle);
        let digests = |one, other| get(one).map(|e| e.digest) == get(other).map(|e| e.digest);
        Some(BuiltTables {
            by_handle: by_handle.arrays(handles)?,
            by_digest: by_digest.arrays(digests)?,
            pairs: pairs.into_iter().collect(),
        })
    }
}

impl Index {
    /// Puts in the tables and relations of what was filled: all of it is found from
    /// here on.
    pub(crate) fn install(&self, mutator: &mut Mutator, filled: BuiltTables) {
        self.relations.install(filled.pairs);
        self.by_handle.install(&mut mutator.by_handle, filled.by_handle);
        self.by_digest.install(&mut mutator.by_digest, filled.by_digest);
    }
}
