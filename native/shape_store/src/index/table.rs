//! A hash table of entry ids that readers probe without a lock while one
//! mutator changes it.
//!
//! It maps a hash to ids; whether an id's entry really has the key is for the
//! caller to see in the cell. A slot never moves to another place in its array:
//! removal leaves a dead mark that an insertion may use again, and when too many
//! slots are taken the shard gets a new array. A reader that still holds the old
//! one sees it as it was, which is as good as having come earlier, and ids in it
//! that have been freed since show in their cells.

mod builder;

use std::sync::{
    Arc,
    atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use arc_swap::ArcSwap;

pub(crate) use self::builder::{Arrays, TableBuilder};
use crate::index::slab::EntryId;

/// Many small arrays rather than one: the mutation lock is held while one is
/// rebuilt, so a rebuild has to stay short (0.1 ms at a million entries).
const SHARDS: usize = 64;
const SMALLEST: usize = 8;

const EMPTY: u64 = 0;
const DEAD: u64 = 0xffff_ffff;

pub(crate) struct Table {
    shards: Box<[Published; SHARDS]>,
}

/// The arrays as the mutator has them, who need not keep them from being freed, and what
/// nobody else looks at.
pub(crate) struct Owned {
    shards: Box<[Shard; SHARDS]>,
}

/// Where an id of a hash has room.
pub(crate) struct Spot<'t> {
    published: &'t Published,
    shard: &'t mut Shard,
    tag: u32,
    /// The first slot that is free, if one is.
    place: u32,
}

type Slots = Arc<Box<[AtomicU64]>>;
type Published = ArcSwap<Box<[AtomicU64]>>;

struct Shard {
    slots: Slots,
    /// Slots that hold an id, and slots that hold anything.
    live: u32,
    taken: u32,
}

/// A slot is a 32-bit tag, the hash but for the bits that chose the shard, over
/// an id plus one.
fn slot(tag: u32, id: EntryId) -> u64 {
    u64::from(tag) << 32 | u64::from(id + 1)
}

fn tag_of(slot: u64) -> u32 {
    (slot >> 32) as u32
}

fn id_of(slot: u64) -> EntryId {
    slot as u32 - 1
}

impl Table {
    pub(crate) fn new() -> Self {
        let none = Arc::new(empty_slots(1));
        Self { shards: Box::new(std::array::from_fn(|_| Published::new(Arc::clone(&none)))) }
    }

    /// The first id of this hash for which `matches` gives something.
    pub(crate) fn find<T>(
        &self,
        hash: u64,
        matches: impl FnMut(EntryId) -> Option<T>,
    ) -> Option<T> {
        find(&shard(&self.shards, hash).load(), tag(hash), matches)
    }

    /// The same, or room for an id of this hash.
    pub(crate) fn seek<'t, T>(
        &'t self,
        owned: &'t mut Owned,
        hash: u64,
        mut matches: impl FnMut(EntryId) -> Option<T>,
    ) -> Result<Spot<'t>, T> {
        let (published, shard) = (shard(&self.shards, hash), shard_mut(&mut owned.shards, hash));
        let tag = tag(hash);
        let mut free = None;
        for (passed, slot) in (0..).zip(probe(&shard.slots, tag)) {
            match slot.load(Relaxed) {
                EMPTY => {
                    free.get_or_insert(passed);
                    break;
                }
                DEAD => {
                    free.get_or_insert(passed);
                }
                found if tag_of(found) == tag => {
                    if let Some(answer) = matches(id_of(found)) {
                        return Err(answer);
                    }
                }
                _ => {}
            }
        }
        Ok(Spot { published, shard, tag, place: tag.wrapping_add(free.unwrap_or(0)) })
    }

    /// Puts these in place of all there was.
    pub(crate) fn install(&self, owned: &mut Owned, arrays: Arrays) {
        let shards = self.shards.iter().zip(owned.shards.iter_mut());
        for ((published, shard), (slots, live)) in shards.zip(arrays.0) {
            *shard = Shard { slots: Arc::new(slots), live, taken: live };
            published.store(Arc::clone(&shard.slots));
        }
    }

    /// Bytes of the arrays.
    pub(crate) fn bytes(&self) -> usize {
        self.shards.iter().map(|s| s.load().len() * size_of::<AtomicU64>()).sum()
    }
}

impl Owned {
    /// As [`Table::find`].
    pub(crate) fn find<T>(
        &self,
        hash: u64,
        matches: impl FnMut(EntryId) -> Option<T>,
    ) -> Option<T> {
        find(&shard(&self.shards, hash).slots, tag(hash), matches)
    }

    /// Takes an id out.
    pub(crate) fn remove(&mut self, hash: u64, id: EntryId) {
        let shard = shard_mut(&mut self.shards, hash);
        let tag = tag(hash);
        for place in probe(&shard.slots, tag) {
            match place.load(Relaxed) {
                EMPTY => return,
                found if found == slot(tag, id) => {
                    place.store(DEAD, Release);
                    shard.live -= 1;
                    return;
                }
                _ => {}
            }
        }
    }
}

/// All shards share their first array: one of a single slot is full before anything is
/// written to it.
impl Default for Owned {
    fn default() -> Self {
        let none = Arc::new(empty_slots(1));
        let shard = |_| Shard { slots: Arc::clone(&none), live: 0, taken: 0 };
        Self { shards: Box::new(std::array::from_fn(shard)) }
    }
}

impl Spot<'_> {
    /// Puts an id there, which must not be there yet.
    pub(crate) fn fill(self, id: EntryId) {
        let Self { published, shard, tag, place } = self;
        let full = (shard.taken as usize + 1) * 4 > shard.slots.len() * 3;
        let start = if full {
            shard.rebuild();
            published.store(Arc::clone(&shard.slots));
            tag
        } else {
            place
        };
        for place in probe(&shard.slots, start) {
            let there = place.load(Relaxed);
            if there == EMPTY || there == DEAD {
                place.store(slot(tag, id), Release);
                shard.live += 1;
                shard.taken += u32::from(there == EMPTY);
                return;
            }
        }
    }
}

impl Shard {
    /// A new array without dead marks, at most half full.
    fn rebuild(&mut self) {
        let new = Arc::new(empty_slots(room_for(self.live as usize)));
        let ids = self.slots.iter().map(|s| s.load(Relaxed)).filter(|s| *s != EMPTY && *s != DEAD);
        for id in ids {
            if let Some(place) = probe(&new, tag_of(id)).find(|s| s.load(Relaxed) == EMPTY) {
                place.store(id, Relaxed);
            }
        }
        self.taken = self.live;
        self.slots = new;
    }
}

fn find<T>(
    slots: &[AtomicU64],
    tag: u32,
    mut matches: impl FnMut(EntryId) -> Option<T>,
) -> Option<T> {
    for slot in probe(slots, tag) {
        // Pairs with the Release store of `fill`: the id's cell was allocated before.
        match slot.load(Acquire) {
            EMPTY => return None,
            DEAD => {}
            found if tag_of(found) == tag => {
                if let Some(answer) = matches(id_of(found)) {
                    return Some(answer);
                }
            }
            _ => {}
        }
    }
    None
}

#[expect(clippy::indexing_slicing, reason = "there are SHARDS shards")]
fn shard<T>(shards: &[T; SHARDS], hash: u64) -> &T {
    &shards[number(hash)]
}

#[expect(clippy::indexing_slicing, reason = "there are SHARDS shards")]
fn shard_mut<T>(shards: &mut [T; SHARDS], hash: u64) -> &mut T {
    &mut shards[number(hash)]
}

/// Of the shard.
fn number(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

/// What tells the hashes of a shard apart.
fn tag(hash: u64) -> u32 {
    hash as u32
}

/// How long an array is to be that holds so many ids and at least as many more.
fn room_for(ids: usize) -> usize {
    (ids * 2 + 1).next_power_of_two().max(SMALLEST)
}

/// All slots, from the one that `start` gives.
fn probe(slots: &[AtomicU64], start: u32) -> impl Iterator<Item = &AtomicU64> {
    // The length is a power of two.
    let start = start as usize & (slots.len() - 1);
    let (before, from) = slots.split_at(start);
    from.iter().chain(before)
}

fn empty_slots(len: usize) -> Box<[AtomicU64]> {
    bytemuck::allocation::zeroed_slice_box(len)
}

#[cfg(test)]
mod tests;
