//! Removals that are not committed, found by handle.

use std::{collections::VecDeque, iter::repeat_n, sync::Arc};

use hashbrown::HashTable;

/// They are committed in the order in which they come, and hardly anybody asks for one of
/// them by its handle: until somebody does they are a queue, and then a table, which costs
/// a removal several times as much.
#[derive(Default)]
pub(super) struct Removals {
    /// Those that had come when somebody asked, counted by handle.
    table: HashTable<(Arc<[u8]>, usize)>,
    /// Those that came since.
    queue: VecDeque<Arc<[u8]>>,
}

impl Removals {
    pub(super) fn push(&mut self, handle: Arc<[u8]>) {
        self.queue.push_back(handle);
    }

    /// The removal that came with this very handle is committed.
    pub(super) fn forget(&mut self, handle: &Arc<[u8]>, hash: u64) {
        if self.queue.front().is_some_and(|first| Arc::ptr_eq(first, handle)) {
            self.queue.pop_front();
        } else if let Ok(mut there) = self.table.find_entry(hash, |(other, _)| other == handle) {
            let (_, count) = there.get_mut();
            *count -= 1;
            if *count == 0 {
                there.remove();
            }
        } else {
            self.queue.retain(|other| !Arc::ptr_eq(other, handle));
        }
    }

    /// Whether a removal of this handle is there; `None` before [`Removals::fill_table`].
    pub(super) fn contains(&self, handle: &[u8], hash: u64) -> Option<bool> {
        let in_table = || self.table.find(hash, |(other, _)| **other == *handle).is_some();
        self.queue.is_empty().then(in_table)
    }

    pub(super) fn fill_table(&mut self, hash: impl Fn(&[u8]) -> u64) {
        for handle in self.queue.drain(..) {
            let entry = self.table.entry(
                hash(&handle),
                |(other, _)| *other == handle,
                |(other, _)| hash(other),
            );
            entry.or_insert_with(|| (Arc::clone(&handle), 0)).get_mut().1 += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty() && self.queue.is_empty()
    }

    /// How many they are, or more if a handle was removed several times.
    pub(super) fn least(&self) -> usize {
        self.table.len() + self.queue.len()
    }

    /// The handle of each.
    pub(super) fn handles(&self) -> impl Iterator<Item = &Arc<[u8]>> {
        self.table.iter().flat_map(|(handle, count)| repeat_n(handle, *count)).chain(&self.queue)
    }
}
