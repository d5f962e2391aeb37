//! Many small maps in place of a large one, each behind a lock of its own.

use std::sync::OnceLock;

use parking_lot::RwLock;

/// A list copies a shard with its lock held, and a change that has the mutation lock may
/// wait for that: there are so many shards that one of a full queue has a thousand rows.
/// They are made a group at a time, as a store of few shapes needs few.
pub(super) const SHARDS: usize = GROUPS * IN_GROUP;
const GROUPS: usize = 16;
const IN_GROUP: usize = 16;

pub(super) struct Shards<T> {
    groups: [OnceLock<Box<[RwLock<T>; IN_GROUP]>>; GROUPS],
}

impl<T: Default> Shards<T> {
    pub(super) fn new() -> Self {
        Self { groups: Default::default() }
    }

    /// The shard of a number, if there was ever anything in its group.
    #[expect(clippy::indexing_slicing, reason = "there are GROUPS groups of IN_GROUP shards")]
    pub(super) fn get(&self, number: u64) -> Option<&RwLock<T>> {
        let place = number as usize % SHARDS;
        Some(&self.groups[place / IN_GROUP].get()?[place % IN_GROUP])
    }

    #[expect(clippy::indexing_slicing, reason = "there are GROUPS groups of IN_GROUP shards")]
    pub(super) fn get_to_fill(&self, number: u64) -> &RwLock<T> {
        let place = number as usize % SHARDS;
        &self.groups[place / IN_GROUP].get_or_init(Box::default)[place % IN_GROUP]
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &RwLock<T>> {
        self.groups.iter().filter_map(OnceLock::get).flat_map(|group| group.iter())
    }

    /// What `pick` takes of each shard, of which there are `len`. As little as there is to do
    /// with a shard's lock held: no memory is asked for that is not there already, as a rule.
    pub(super) fn collect<R>(
        &self,
        len: impl Fn(&T) -> usize,
        pick: impl Fn(&T, &mut Vec<R>),
    ) -> Vec<R> {
        let mut all = Vec::new();
        for shard in self.all() {
            let mut picked = Vec::with_capacity(len(&shard.read()));
            pick(&shard.read(), &mut picked);
            all.append(&mut picked);
        }
        all
    }

    pub(super) fn clear(&self) {
        self.clear_if(|_| true);
    }

    /// Empties those shards of which this is true, one by one.
    pub(super) fn clear_if(&self, which: impl Fn(&T) -> bool) {
        for shard in self.all() {
            let mut shard = shard.write();
            let taken = which(&shard).then(|| std::mem::take(&mut *shard));
            // Freed when the lock is not held any more.
            drop(shard);
            drop(taken);
        }
    }
}
