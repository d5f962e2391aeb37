//! The cells, found by a 32-bit id, at addresses that never move.

use std::sync::OnceLock;

use crate::cell::{self, Cell};

/// The position of an entry's cell. Reused after the entry is gone.
pub(crate) type EntryId = u32;

const FIRST_BITS: u32 = 6;
const SEGMENTS: usize = (u32::BITS - FIRST_BITS) as usize;

/// Segments that double in size: the first holds 64 cells, the second 64, the
/// third 128. A new one is zeroed memory that the system gives page by page as
/// cells are filled.
pub(crate) struct Slab {
    segments: [OnceLock<Box<[Cell]>>; SEGMENTS],
}

/// Which ids are free. Holding it mutably is what makes somebody the mutator:
/// every function that changes the index takes it.
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
        self.segments.get(segment)?.get()?.get(offset)
    }

    /// The cell of a fresh or freed id, or `None` when 2^31 are in use.
    pub(crate) fn allocate(&self, free: &mut FreeIds) -> Option<(EntryId, &Cell)> {
        let id = match free.freed.pop() {
            Some(id) => id,
            None if free.next < u32::MAX / 2 => {
                free.next += 1;
                free.next - 1
            }
            None => return None,
        };
        let (segment, offset) = locate(id);
        let cells = self.segments.get(segment)?.get_or_init(|| cell::vacant(segment_len(segment)));
        Some((id, cells.get(offset)?))
    }

    /// Bytes of the segments that exist.
    pub(crate) fn bytes(&self) -> usize {
        self.segments.iter().filter_map(OnceLock::get).map(|s| size_of_val::<[Cell]>(s)).sum()
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
    let start = if segment == 0 { 0 } else { segment_len(segment) };
    (segment, id as usize - start)
}

#[cfg(test)]
mod tests {
    use super::*;

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
