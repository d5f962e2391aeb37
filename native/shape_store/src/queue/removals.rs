//! Removals that are not committed, found by handle.

use std::{collections::VecDeque, sync::Arc};

use hashbrown::HashTable;

/// They are committed in the order in which they come, and hardly anybody asks for one of
/// them by its handle: until somebody does they are a queue, and then a table, which costs
/// a removal several times as much. A handle is there once for each of its removals.
#[derive(Default)]
pub(super) struct Removals {
    table: HashTable<Arc<[u8]>>,
    /// Those that came since somebody asked.
    queue: VecDeque<Arc<[u8]>>,
}

impl Removals {
    pub(super) fn push(&mut self, handle: Arc<[u8]>) {
        self.queue.push_back(handle);
    }

    /// The removal that came with this very handle is committed.
    pub(super) fn forget(&mut self, handle: &Arc<[u8]>, hash: u64) {
        let is = |other: &Arc<[u8]>| Arc::ptr_eq(handle, other);
        if self.queue.front().is_some_and(is) {
            self.queue.pop_front();
        } else if let Ok(there) = self.table.find_entry(hash, is) {
            there.remove();
        } else {
            self.queue.retain(|other| !is(other));
        }
    }

    /// Whether a removal of this handle is there; `None` before [`Removals::fill_table`].
    pub(super) fn contains(&self, handle: &[u8], hash: u64) -> Option<bool> {
        let in_table = || self.table.find(hash, |other| **other == *handle).is_some();
        self.queue.is_empty().then(in_table)
    }

    pub(super) fn fill_table(&mut self, hash: impl Fn(&[u8]) -> u64) {
        for handle in self.queue.drain(..) {
            self.table.insert_unique(hash(&handle), handle, |other| hash(other));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len() + self.queue.len()
    }

    pub(super) fn handles(&self) -> impl Iterator<Item = &Arc<[u8]>> {
        self.table.iter().chain(&self.queue)
    }
}
