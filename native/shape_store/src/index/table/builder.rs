//! All that a table is to hold, gathered before its arrays are made.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{EMPTY, SHARDS, empty_slots, id_of, number, probe, room_for, slot, tag, tag_of};
use crate::index::slab::EntryId;

/// What a table is to hold, by shard, in the order of insertion.
pub(crate) struct TableBuilder {
    shards: Vec<Vec<u64>>,
}

/// The arrays of a whole table, each with how many ids it holds.
pub(crate) struct Arrays(pub(super) Vec<(Box<[AtomicU64]>, u32)>);

impl TableBuilder {
    pub(crate) fn new() -> Self {
        Self { shards: vec![Vec::new(); SHARDS] }
    }

    pub(crate) fn push(&mut self, hash: u64, id: EntryId) {
        if let Some(shard) = self.shards.get_mut(number(hash)) {
            shard.push(slot(tag(hash), id));
        }
    }

    /// Makes the arrays, each in one go, so that it stays in the processor's cache.
    /// `None` when `same` says of two ids of one tag that their keys are equal.
    pub(crate) fn arrays(self, same: impl Fn(EntryId, EntryId) -> bool) -> Option<Arrays> {
        let shards = self.shards.iter();
        shards
            .map(|ids| Some((array(ids, &same)?, ids.len() as u32)))
            .collect::<Option<_>>()
            .map(Arrays)
    }
}

fn array(ids: &[u64], same: impl Fn(EntryId, EntryId) -> bool) -> Option<Box<[AtomicU64]>> {
    let slots = empty_slots(room_for(ids.len()));
    for id in ids {
        for place in probe(&slots, tag_of(*id)) {
            let there = place.load(Relaxed);
            if there == EMPTY {
                place.store(*id, Relaxed);
                break;
            }
            if tag_of(there) == tag_of(*id) && same(id_of(there), id_of(*id)) {
                return None;
            }
        }
    }
    Some(slots)
}
