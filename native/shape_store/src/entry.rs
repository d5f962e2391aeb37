//! What the index keeps of a shape.

use sha2::{Digest as _, Sha256};
use smallvec::SmallVec;

/// The key SQLite knows a shape by. Given once, in the order of the adds, never
/// reused: a reader that comes late with an old row id finds nothing rather than
/// somebody else's body.
pub type RowId = u64;

/// A Postgres object id.
pub type Oid = u32;

/// A handle, kept inline up to [`INLINE_HANDLE`] bytes.
pub type Handle = SmallVec<[u8; INLINE_HANDLE]>;

/// The first eight bytes of a handle as a number: where two of these differ, they
/// are in the order of the handles.
pub(crate) fn prefix(handle: &[u8]) -> u64 {
    let bytes = handle.first_chunk().copied().unwrap_or_else(|| {
        let mut padded = [0; 8];
        for (to, from) in padded.iter_mut().zip(handle) {
            *to = *from;
        }
        padded
    });
    u64::from_be_bytes(bytes)
}

/// Sorts by bytes, without repetition.
pub(crate) fn sort_handles(handles: &mut Vec<Handle>) {
    // Numbers are sorted several times faster than bytes, and their first eight bytes
    // tell nearly all handles of the service apart.
    let number = |(place, handle): (usize, &Handle)| {
        u128::from(prefix(handle)) << usize::BITS | place as u128
    };
    let mut order: SmallVec<[u128; 128]> = handles.iter().enumerate().map(number).collect();
    order.sort_unstable();
    arrange(handles, &mut order);
    if !handles.is_sorted_by(|a, b| a < b) {
        handles.sort_unstable();
        handles.dedup();
    }
}

/// Puts handles into an order of their places, which are the low halves of `order`.
#[expect(clippy::indexing_slicing, reason = "each place of the handles is in the order once")]
fn arrange(handles: &mut [Handle], order: &mut [u128]) {
    for start in 0..handles.len() {
        // Round the circle of those that take each other's places, once.
        let mut to = start;
        loop {
            let from = std::mem::replace(&mut order[to], to as u128) as usize;
            if from == start {
                break;
            }
            handles.swap(to, from);
            to = from;
        }
    }
}

/// The relations of a shape, kept inline up to [`INLINE_OIDS`].
pub type Oids = SmallVec<[Oid; INLINE_OIDS]>;

/// Handles of the service are at most 26 bytes: nine digits of hash, a dash,
/// sixteen digits of microseconds.
pub const INLINE_HANDLE: usize = 32;

/// Nearly every shape is of one table; a sub-select adds another.
pub const INLINE_OIDS: usize = 2;

/// The longest handle accepted, in bytes.
pub const MAX_HANDLE: usize = 1024;

/// The most relations a shape may have.
pub const MAX_OIDS: usize = 4096;

/// SHA-256 of a shape's serialised comparable term: two shapes are the same
/// shape exactly when their digests are equal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of a serialised comparable term.
    pub fn of(comparable: &[u8]) -> Self {
        Self(Sha256::digest(comparable).into())
    }
}

/// How far a shape's first snapshot has come. Complete implies started.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Snapshot {
    /// Nothing written yet.
    None = 0,
    /// Being written.
    Started = 1,
    /// Written.
    Complete = 2,
}

impl Snapshot {
    /// From its stored number; anything above the range reads as complete, as
    /// the booleans of schema 4 do.
    pub fn from_number(number: u64) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Started,
            _ => Self::Complete,
        }
    }
}

/// Everything the index knows of one shape; its body is elsewhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Where SQLite keeps it.
    pub row: RowId,
    /// Its name.
    pub handle: Handle,
    /// Its identity.
    pub digest: Digest,
    /// The host's own hash of it, below 2^27; carried, not used.
    pub hash: u32,
    /// How far its first snapshot has come.
    pub snapshot: Snapshot,
    /// Eight bits that are the host's.
    pub flags: u8,
    /// The tables it reads, without repetition, ascending.
    pub oids: Oids,
}

impl Entry {
    /// Whether it fits a cell, or needs the overflow map for its handle or oids.
    pub(crate) fn fits_inline(&self) -> bool {
        self.handle.len() <= INLINE_HANDLE && self.oids.len() <= INLINE_OIDS
    }
}

/// Of an entry, what is found without making a copy of it all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Brief {
    /// The host's own hash of the shape.
    pub hash: u32,
    /// How far its first snapshot has come.
    pub snapshot: Snapshot,
}

/// An entry, and when somebody last read the shape's data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meta {
    /// What the index knows of it.
    pub entry: Entry,
    /// On the host's clock; none when nobody did since it was added.
    pub read: Option<i64>,
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Rotations are where one circle has all places.
    #[test]
    fn handles_of_any_order_are_sorted_by_bytes_and_each_is_there_once() {
        let sorted: Vec<Handle> = ["", "\0", "a", "a\0", "aaaaaaaa", "aaaaaaaaa", "aaaaaaaab", "b"]
            .iter()
            .map(|handle| Handle::from_slice(handle.as_bytes()))
            .collect();
        for turn in 0..sorted.len() {
            for backwards in [false, true] {
                let mut handles = [sorted.clone(), sorted.clone()].concat();
                handles.rotate_left(turn);
                if backwards {
                    handles.reverse();
                }
                sort_handles(&mut handles);
                assert_eq!(handles, sorted);
            }
        }
    }
}
