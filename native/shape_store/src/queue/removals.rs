//! Removals that are not committed, found by handle.

use std::{collections::VecDeque, sync::Arc};

use hashbrown::HashTable;

use crate::entry::RowId;

/// They are committed in the order in which they come, and hardly anybody asks for one of
/// them by its handle: until somebody does they are a queue, and then a table, which costs
/// a removal several times as much.
#[derive(Default)]
pub(super) struct Removals {
    table: HashTable<Removal>,
    /// Those that came since somebody asked.
    queue: VecDeque<Removal>,
}

struct Removal {
    /// Of the handle, which is there once for each of its removals.
    hash: u64,
    row: RowId,
    handle: Arc<[u8]>,
}

impl Removals {
    pub(super) fn push(&mut self, hash: u64, row: RowId, handle: Arc<[u8]>) {
        self.queue.push_back(Removal { hash, row, handle });
    }

    /// The removal of this row is committed.
    pub(super) fn forget(&mut self, hash: u64, row: RowId) {
        if self.queue.front().is_some_and(|first| first.row == row) {
            self.queue.pop_front();
        } else if let Ok(there) = self.table.find_entry(hash, |one| one.row == row) {
            there.remove();
        } else {
            self.queue.retain(|one| one.row != row);
        }
    }

    /// Whether a removal of this handle is there; `None` before [`Removals::fill_table`].
    pub(super) fn contains(&self, hash: u64, handle: &[u8]) -> Option<bool> {
        let in_table = || self.table.find(hash, |one| *one.handle == *handle).is_some();
        self.queue.is_empty().then(in_table)
    }

    pub(super) fn fill_table(&mut self) {
        for one in self.queue.drain(..) {
            self.table.insert_unique(one.hash, one, |one| one.hash);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len() + self.queue.len()
    }

    pub(super) fn handles(&self) -> impl Iterator<Item = &Arc<[u8]>> {
        self.table.iter().chain(&self.queue).map(|one| &one.handle)
    }
}
