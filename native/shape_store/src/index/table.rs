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
        AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use arc_swap::{ArcSwap, Guard};

pub(crate) use self::builder::{Arrays, TableBuilder};
use crate::index::slab::EntryId;

/// Many small arrays rather than one: the mutation lock is held while one is
/// rebuilt, so a rebuild has to stay short (0.1 ms at a million entries).
const SHARDS: usize = 64;
const SMALLEST: usize = 8;

const EMPTY: u64 = 0;
const DEAD: u64 = 0xffff_ffff;

pub(crate) struct Table {
    shards: Box<[Shard; SHARDS]>,
}

/// Where an id of a hash has room. Good until the table is changed otherwise.
pub(crate) struct Spot<'t> {
    shard: &'t Shard,
    tag: u32,
    slots: Guard<Slots>,
    /// The first slot that is free, if one is.
    place: usize,
}

type Slots = Arc<Box<[AtomicU64]>>;

struct Shard {
    slots: ArcSwap<Box<[AtomicU64]>>,
    /// Slots that hold an id, and slots that hold anything. The mutator's own.
    live: AtomicU32,
    taken: AtomicU32,
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
        Self { shards: Box::new(std::array::from_fn(|_| Shard::new(Arc::clone(&none)))) }
    }

    /// The first id of this hash for which `matches` gives something.
    pub(crate) fn find<T>(
        &self,
        hash: u64,
        mut matches: impl FnMut(EntryId) -> Option<T>,
    ) -> Option<T> {
        let (shard, tag) = self.shard(hash);
        let slots = shard.slots.load();
        for slot in probe(&slots, tag as usize) {
            // Pairs with the Release store of `fill`: the id's cell was
            // allocated before.
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

    /// The same, or room for an id of this hash. Mutator only.
    pub(crate) fn seek<T>(
        &self,
        hash: u64,
        mut matches: impl FnMut(EntryId) -> Option<T>,
    ) -> Result<Spot<'_>, T> {
        let (shard, tag) = self.shard(hash);
        let slots = shard.slots.load();
        let mut free = None;
        for (passed, slot) in probe(&slots, tag as usize).enumerate() {
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
        Ok(Spot { shard, tag, slots, place: tag as usize + free.unwrap_or(0) })
    }

    /// Takes an id out. Mutator only.
    pub(crate) fn remove(&self, hash: u64, id: EntryId) {
        let (shard, tag) = self.shard(hash);
        shard.remove(tag, id);
    }

    /// Puts these in place of all there was. Mutator only.
    pub(crate) fn install(&self, arrays: Arrays) {
        for ((shard, slots), live) in self.shards.iter().zip(arrays.shards).zip(arrays.live) {
            shard.live.store(live, Relaxed);
            shard.taken.store(live, Relaxed);
            shard.slots.store(Arc::new(slots));
        }
    }

    /// Bytes of the arrays.
    pub(crate) fn bytes(&self) -> usize {
        self.shards.iter().map(|s| s.slots.load().len() * size_of::<AtomicU64>()).sum()
    }

    #[expect(clippy::indexing_slicing, reason = "there are SHARDS shards")]
    fn shard(&self, hash: u64) -> (&Shard, u32) {
        (&self.shards[(hash >> 32) as usize % SHARDS], hash as u32)
    }
}

impl Spot<'_> {
    /// Puts an id there, which must not be there yet. Mutator only.
    pub(crate) fn fill(self, id: EntryId) {
        let Self { shard, tag, slots, place } = self;
        let full = (shard.taken.load(Relaxed) as usize + 1) * 4 > slots.len() * 3;
        let rebuilt = full.then(|| shard.rebuild(&slots));
        let (slots, start) = match &rebuilt {
            Some(new) => (new, tag as usize),
            None => (&*slots, place),
        };
        for place in probe(slots, start) {
            let there = place.load(Relaxed);
            if there == EMPTY || there == DEAD {
                place.store(slot(tag, id), Release);
                shard.live.fetch_add(1, Relaxed);
                shard.taken.fetch_add(u32::from(there == EMPTY), Relaxed);
                return;
            }
        }
    }
}

/// How long an array is to be that holds so many ids and at least as many more.
fn room_for(ids: usize) -> usize {
    (ids * 2 + 1).next_power_of_two().max(SMALLEST)
}

/// All slots, from the one that `start` gives.
fn probe(slots: &[AtomicU64], start: usize) -> impl Iterator<Item = &AtomicU64> {
    // The length is a power of two.
    let start = start & (slots.len() - 1);
    let (before, from) = slots.split_at(start);
    from.iter().chain(before)
}

impl Shard {
    /// A shard shares its first array with all others: an array of a single slot is full
    /// before anything is written to it.
    fn new(none: Arc<Box<[AtomicU64]>>) -> Self {
        Self { slots: ArcSwap::new(none), live: AtomicU32::new(0), taken: AtomicU32::new(0) }
    }

    fn remove(&self, tag: u32, id: EntryId) {
        let slots = self.slots.load();
        for place in probe(&slots, tag as usize) {
            match place.load(Relaxed) {
                EMPTY => return,
                found if found == slot(tag, id) => {
                    place.store(DEAD, Release);
                    self.live.fetch_sub(1, Relaxed);
                    return;
                }
                _ => {}
            }
        }
    }

    /// A new array without dead marks, at most half full, in place of `old`.
    fn rebuild(&self, old: &[AtomicU64]) -> Slots {
        let live = self.live.load(Relaxed);
        let new = Arc::new(empty_slots(room_for(live as usize)));
        let ids = old.iter().map(|s| s.load(Relaxed)).filter(|s| *s != EMPTY && *s != DEAD);
        for id in ids {
            if let Some(place) = probe(&new, tag_of(id) as usize).find(|s| s.load(Relaxed) == EMPTY)
            {
                place.store(id, Relaxed);
            }
        }
        self.taken.store(live, Relaxed);
        self.slots.store(Arc::clone(&new));
        new
    }
}

fn empty_slots(len: usize) -> Box<[AtomicU64]> {
    bytemuck::allocation::zeroed_slice_box(len)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const HASHES: EntryId = 30;

    /// Few hashes, so that ids collide in their tags, their places and their shards, at both
    /// ends of an array.
    fn hash(id: EntryId) -> u64 {
        let tag = if id.is_multiple_of(2) { id % 5 } else { u32::MAX - id % 5 };
        u64::from(id % 3) << 32 | u64::from(tag)
    }

    fn insert(table: &Table, id: EntryId) {
        let there = |other| (other == id).then_some(());
        let spot = table.seek(hash(id), there);
        assert!(spot.is_ok(), "{id} is there before");
        spot.into_iter().for_each(|spot| spot.fill(id));
        assert!(table.seek(hash(id), there).is_err(), "{id} is there");
    }

    fn ids(table: &Table, hash: u64) -> BTreeSet<EntryId> {
        let mut found = BTreeSet::new();
        table.find(hash, |id| {
            assert!(found.insert(id), "{id} is there twice");
            None::<()>
        });
        found
    }

    #[test]
    fn a_table_is_a_map_of_sets() {
        let table = Table::new();
        let mut model = BTreeSet::new();
        let mut chance = 1u64;
        for _ in 0..if cfg!(miri) { 300 } else { 20_000 } {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let id = (chance >> 40) as EntryId % 120;
            if model.remove(&id) {
                table.remove(hash(id), id);
            } else {
                model.insert(id);
                insert(&table, id);
            }
            for hash in (0..HASHES).map(hash) {
                let expected: BTreeSet<_> =
                    model.iter().copied().filter(|id| self::hash(*id) == hash).collect();
                assert_eq!(ids(&table, hash), expected);
            }
        }
        assert!(table.bytes() < 100_000, "dead marks are cleared away");
    }

    #[test]
    fn what_stays_is_found_while_others_come_and_go() {
        let rounds = if cfg!(miri) { 60 } else { 20_000 };
        let table = Table::new();
        (0..10).for_each(|id| insert(&table, id));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..rounds {
                    let id = round % 10;
                    let found = table.find(hash(id), |other| (other == id).then_some(()));
                    assert!(found.is_some(), "{id} is not found in round {round}");
                }
            });
            for round in 0..rounds {
                let id = 10 + round % 40;
                insert(&table, id);
                table.remove(hash(id), id);
                if round % 7 == 0 {
                    (100..130).for_each(|id| insert(&table, id));
                    (100..130).for_each(|id| table.remove(hash(id), id));
                }
            }
        });
    }
}
