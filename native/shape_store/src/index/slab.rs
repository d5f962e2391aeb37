//! The cells, found by a 32-bit id, at addresses that never move.

use std::sync::OnceLock;

use crate::{
    index::{
        cell::{self, Cell},
        touch::Mark,
    },
    sync::{AtomicU16, AtomicU32, AtomicU64},
};

/// The position of an entry's cell. Reused after the entry is gone.
pub(crate) type EntryId = u32;

const FIRST_BITS: u32 = 4;
const SEGMENTS: usize = (u32::BITS - FIRST_BITS) as usize;

/// Segments that double in size: the first holds 16 cells, the second 16, the
/// third 32. A new one is zeroed memory that the system gives page by page as
/// cells are filled.
pub(crate) struct Slab {
    segments: [OnceLock<Segment>; SEGMENTS],
}

/// The marks are apart from the cells: a touch writes to no memory that a lookup reads, and
/// a look at all of them reads nothing else.
struct Segment {
    cells: Box<[Cell]>,
    stamps: Box<[AtomicU64]>,
    begins: Box<[AtomicU32]>,
    holds: Box<[AtomicU16]>,
}

/// What a look at all marks takes of a segment, from its first id on.
pub(crate) struct Piece<'a> {
    pub(crate) start: EntryId,
    pub(crate) stamps: &'a [AtomicU64],
    pub(crate) begins: &'a [AtomicU32],
    pub(crate) cells: &'a [Cell],
}

impl Segment {
    fn new(len: usize) -> Self {
        Self {
            cells: cell::vacant(len),
            stamps: zeroed(len),
            begins: zeroed(len),
            holds: zeroed(len),
        }
    }

    fn slot(&self, offset: usize) -> Option<(&Cell, Mark<'_>)> {
        let (stamp, begins) = (self.stamps.get(offset)?, self.begins.get(offset)?);
        let mark = Mark { stamp, begins, holds: self.holds.get(offset)? };
        Some((self.cells.get(offset)?, mark))
    }
}

#[cfg(not(loom))]
fn zeroed<T: bytemuck::Zeroable>(len: usize) -> Box<[T]> {
    bytemuck::allocation::zeroed_slice_box(len)
}

#[cfg(loom)]
fn zeroed<T: Default>(len: usize) -> Box<[T]> {
    (0..len).map(|_| T::default()).collect()
}

/// Which ids are free.
#[derive(Default)]
pub(crate) struct FreeIds {
    freed: Vec<EntryId>,
    next: EntryId,
}

impl Slab {
    pub(crate) fn new() -> Self {
        Self { segments: [const { OnceLock::new() }; SEGMENTS] }
    }

    /// The cell of `id`, if its segment was ever needed.
    pub(crate) fn get(&self, id: EntryId) -> Option<&Cell> {
        let (segment, offset) = locate(id);
        self.segments.get(segment)?.get()?.cells.get(offset)
    }

    /// The cell of `id` with its mark.
    pub(crate) fn slot(&self, id: EntryId) -> Option<(&Cell, Mark<'_>)> {
        let (segment, offset) = locate(id);
        self.segments.get(segment)?.get()?.slot(offset)
    }

    /// The marks and the cells of these ids.
    pub(crate) fn pieces(&self, ids: std::ops::Range<EntryId>) -> impl Iterator<Item = Piece<'_>> {
        let segments = self.segments.iter().map_while(OnceLock::get).enumerate();
        segments.map_while(move |(segment, there)| {
            let start = start_of(segment);
            let wanted = (ids.end as usize).checked_sub(start).filter(|left| *left > 0)?;
            let wanted = wanted.min(there.stamps.len());
            Some(Piece {
                start: start as EntryId,
                stamps: there.stamps.get(..wanted)?,
                begins: there.begins.get(..wanted)?,
                cells: there.cells.get(..wanted)?,
            })
        })
    }

    /// The cell of a fresh or freed id, or `None` when 2^31 are in use.
    pub(crate) fn allocate(&self, free: &mut FreeIds) -> Option<(EntryId, &Cell, Mark<'_>)> {
        let id = match self.freed(free) {
            Some(id) => id,
            None if free.next < u32::MAX / 2 => {
                free.next += 1;
                free.next - 1
            }
            None => return None,
        };
        let (segment, offset) = locate(id);
        let there = self.segments.get(segment)?;
        let (cell, mark) = there.get_or_init(|| Segment::new(segment_len(segment))).slot(offset)?;
        Some((id, cell, mark))
    }

    /// A freed id whose cell nobody holds; one that is held comes to its turn later.
    fn freed(&self, free: &mut FreeIds) -> Option<EntryId> {
        let id = *free.freed.last()?;
        if self.slot(id).is_some_and(|(_, mark)| mark.is_held()) {
            let last = free.freed.len() - 1;
            free.freed.swap(0, last);
            return None;
        }
        free.freed.pop()
    }

    /// Bytes of the segments that exist.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = |segment: &Segment| {
            size_of_val::<[Cell]>(&segment.cells)
                + size_of_val::<[AtomicU64]>(&segment.stamps)
                + size_of_val::<[AtomicU32]>(&segment.begins)
                + size_of_val::<[AtomicU16]>(&segment.holds)
        };
        self.segments.iter().filter_map(OnceLock::get).map(bytes).sum()
    }
}

impl FreeIds {
    /// All ids that were ever in use, vacant ones included.
    pub(crate) fn used(&self) -> std::ops::Range<EntryId> {
        0..self.next
    }

    /// Gives back the id of a vacated cell.
    pub(crate) fn release(&mut self, id: EntryId) {
        self.freed.push(id);
    }
}

fn segment_len(segment: usize) -> usize {
    1 << (FIRST_BITS as usize + segment.saturating_sub(1))
}

fn locate(id: EntryId) -> (usize, usize) {
    let segment = (u32::BITS - (id >> FIRST_BITS).leading_zeros()) as usize;
    (segment, id as usize - start_of(segment))
}

fn start_of(segment: usize) -> usize {
    if segment == 0 { 0 } else { segment_len(segment) }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// What the host keeps of a shape: its flags have room in the cell.
    #[test]
    fn a_mark_takes_fourteen_bytes_beside_a_cell() {
        let (slab, mut free) = (Slab::new(), FreeIds::default());
        assert_eq!(slab.bytes(), 0);
        assert!((0..1_000).all(|_| slab.allocate(&mut free).is_some()));
        assert_eq!(slab.bytes(), 1_024 * (size_of::<Cell>() + 14));
    }

    #[test]
    fn ids_fill_the_segments_without_gap_or_overlap() {
        let mut expected = (0, 0);
        for id in 0..100_000 {
            assert_eq!(locate(id), expected);
            expected.1 += 1;
            if expected.1 == segment_len(expected.0) {
                expected = (expected.0 + 1, 0);
            }
        }
    }
}
