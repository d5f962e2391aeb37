//! One entry in shared memory, readable at any moment without a lock.
//!
//! Its words are under a sequence lock, and only filling and vacating replace them:
//! a reader that is told that they were being replaced can say "nothing here", which
//! was true at some moment of its look. The fields that change while a shape lives, its
//! snapshot and its flags, are part of a single word. When it was last read stands beside
//! the cell; see `touch.rs`.

use crate::{
    entry::{Digest, Entry, Handle, INLINE_HANDLE, INLINE_OIDS, Oid, Oids, RowId, Snapshot},
    index::{
        seqlock::SeqLock,
        touch::{Mark, Stamp},
    },
};

const WORDS: usize = 11;
const ROW: usize = 0;
const META: usize = 1;
const HANDLE: usize = 2;
const OIDS: usize = 6;
/// Last: a look for a table takes the words before it.
const DIGEST: usize = 7;

// The meta word: hash in the low half, then one byte each; that of the snapshot has what the
// file is to have in its low half, and what is known in memory alone above.
const SNAPSHOT_SHIFT: u32 = 32;
const IN_MEMORY_SHIFT: u32 = 36;
const HANDLE_LEN_SHIFT: u32 = 40;
const OID_COUNT_SHIFT: u32 = 48;
const OVERFLOW_BIT: u64 = 1 << 55;
const FLAGS_SHIFT: u32 = 56;

/// 96 bytes, vacant when zeroed.
#[cfg_attr(not(loom), derive(bytemuck::Zeroable))]
#[repr(C)]
pub(crate) struct Cell {
    words: SeqLock<WORDS>,
}

/// So many vacant cells: zeroed memory, which the system gives page by page as it is
/// touched.
#[cfg(not(loom))]
pub(crate) fn vacant(cells: usize) -> Box<[Cell]> {
    bytemuck::allocation::zeroed_slice_box(cells)
}

#[cfg(loom)]
pub(crate) fn vacant(cells: usize) -> Box<[Cell]> {
    (0..cells).map(|_| Cell { words: SeqLock::new() }).collect()
}

/// What a look at a cell gave: all of its entry, or a part.
pub(crate) enum Look<T> {
    Vacant,
    Inline(T),
    /// An entry whose handle or oids did not fit: the overflow map has it whole,
    /// under this row id, but for what changes.
    Overflow {
        row: u64,
        snapshot: Snapshot,
        flags: u8,
    },
}

/// A handle as the words of a cell have it: to compare with those takes less than to make
/// an entry of them.
pub(crate) struct Name {
    words: [u64; OIDS - HANDLE],
    len: u64,
}

impl Name {
    /// None for one that is longer than fits a cell.
    pub(crate) fn of(handle: &[u8]) -> Option<Self> {
        let mut bytes = [0; INLINE_HANDLE];
        bytes.get_mut(..handle.len())?.copy_from_slice(handle);
        let words = bytemuck::cast::<_, [u64; OIDS - HANDLE]>(bytes).map(u64::from_le);
        Some(Self { words, len: handle.len() as u64 })
    }
}

/// The beginning of a handle, as numbers in the order of handles.
pub(crate) struct Begins([u64; OIDS - HANDLE]);

impl Begins {
    pub(crate) fn of(handle: &[u8]) -> Self {
        let mut words = [0; OIDS - HANDLE];
        pack_bytes(handle, &mut words);
        Self(words.map(in_order))
    }

    /// Of these, the part that is beside the cell.
    pub(crate) fn first(&self) -> u32 {
        let [word, ..] = self.0;
        (word >> u32::BITS) as u32
    }
}

/// The words of a cell have bytes in the other order.
fn in_order(word: u64) -> u64 {
    word.swap_bytes()
}

impl Cell {
    /// The host's hash of the entry, if it has this handle or is not inline.
    pub(crate) fn look_named(&self, name: &Name) -> Look<u32> {
        let Some([row, meta, words @ ..]) = self.words.read::<OIDS>() else { return Look::Vacant };
        let is_named = words == name.words && meta >> HANDLE_LEN_SHIFT & 0xff == name.len;
        if meta & OVERFLOW_BIT == 0 && !is_named {
            return Look::Vacant;
        }
        look(row, meta, || meta as u32)
    }

    /// The same for a handle that no inline entry has.
    pub(crate) fn look_long(&self) -> Look<u32> {
        let Some([row, meta]) = self.words.read() else { return Look::Vacant };
        if meta & OVERFLOW_BIT == 0 { Look::Vacant } else { look(row, meta, || meta as u32) }
    }

    /// Whether the handle is sure to come after one that begins so: by words that are not
    /// of one entry while the cell is filled or vacated, and zero for one that is not inline.
    pub(crate) fn is_after(&self, begins: &Begins) -> bool {
        for (offset, other) in (HANDLE..).zip(begins.0) {
            let word = in_order(self.words.peek(offset));
            if word != other {
                return word > other;
            }
        }
        false
    }

    /// A consistent copy of the entry, if there is one.
    pub(crate) fn look(&self) -> Look<Entry> {
        self.words.read().map_or(Look::Vacant, decode)
    }

    /// The same, and when it was last read.
    pub(crate) fn look_at(&self, mark: Mark<'_>) -> (Look<Entry>, Stamp) {
        match self.words.read_with(|| mark.stamp()) {
            Some((words, stamp)) => (decode(words), stamp),
            None => (Look::Vacant, Stamp::NEVER),
        }
    }

    /// The row of the entry and when it was last read, if there is one.
    pub(crate) fn row_at(&self, mark: Mark<'_>) -> Option<(RowId, Stamp)> {
        let ([row], stamp) = self.words.read_with(|| mark.stamp())?;
        (row != 0).then_some((row, stamp))
    }

    /// The handle of the entry, if it reads this table or is not inline.
    pub(crate) fn look_for(&self, oid: Oid) -> Look<Handle> {
        self.words.read().map_or(Look::Vacant, |words| decode_for(oid, words))
    }

    /// The snapshot of the entry, if there is one. Mutator only.
    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        (self.words.peek(ROW) != 0).then(|| snapshot(self.words.peek(META)))
    }

    /// The same as the file has it or is to have it, if the entry is of this row. Mutator
    /// only.
    pub(crate) fn saved_snapshot(&self, row: RowId) -> Option<Snapshot> {
        (self.words.peek(ROW) == row).then(|| part(self.words.peek(META), SNAPSHOT_SHIFT))
    }

    /// Fills the cell, and says when the entry was last read. Mutator only.
    pub(crate) fn fill(&self, entry: &Entry, mark: Mark<'_>, stamp: Stamp) {
        let begins = Begins::of(&entry.handle).first();
        self.words.write_with(&encode(entry), || mark.reset(stamp, begins));
    }

    /// Vacates the cell. Mutator only.
    pub(crate) fn vacate(&self, mark: Mark<'_>) {
        self.words.write_with(&[0; WORDS], || mark.reset(Stamp::NEVER, 0));
    }

    /// Sets the snapshot of the entry that is there, as the file is to have it. Mutator only.
    pub(crate) fn set_snapshot(&self, snapshot: Snapshot) {
        self.set_part(SNAPSHOT_SHIFT, snapshot);
    }

    /// Sets what is known of it in memory alone. Mutator only.
    pub(crate) fn set_snapshot_in_memory(&self, snapshot: Snapshot) {
        self.set_part(IN_MEMORY_SHIFT, snapshot);
    }

    fn set_part(&self, shift: u32, snapshot: Snapshot) {
        // A reader takes this word whole, old or new, and both are true of the
        // entry whose version it saw: the version need not move.
        self.words.update(META, |meta| meta & !(0xf << shift) | (snapshot as u64) << shift);
    }

    /// Sets the flags of the entry that is there, and gives those there were. Mutator only.
    pub(crate) fn set_flags(&self, flags: u8) -> u8 {
        let before = self.flags();
        self.words
            .update(META, |meta| meta & !(0xff << FLAGS_SHIFT) | u64::from(flags) << FLAGS_SHIFT);
        before
    }

    /// The flags of the entry that is there. Mutator only.
    pub(crate) fn flags(&self) -> u8 {
        flags(self.words.peek(META))
    }

    /// The row of the entry that is there, or 0. Mutator, or who holds the cell.
    pub(crate) fn row(&self) -> RowId {
        self.words.peek(ROW)
    }
}

fn encode(entry: &Entry) -> [u64; WORDS] {
    let mut words = [0u64; WORDS];
    let mut meta = u64::from(entry.hash)
        | (entry.snapshot as u64) << SNAPSHOT_SHIFT
        | u64::from(entry.flags) << FLAGS_SHIFT;
    let [row, meta_word, rest @ ..] = &mut words;
    *row = entry.row;
    let (handle, rest) = rest.split_at_mut(OIDS - HANDLE);
    let (oids, digest) = rest.split_at_mut(DIGEST - OIDS);
    pack_bytes(&entry.digest.0, digest);
    if entry.fits_inline() {
        meta |= (entry.handle.len() as u64) << HANDLE_LEN_SHIFT;
        meta |= (entry.oids.len() as u64) << OID_COUNT_SHIFT;
        pack_bytes(&entry.handle, handle);
        for (shift, oid) in [0, 32].into_iter().zip(&entry.oids) {
            for word in oids.iter_mut() {
                *word |= u64::from(*oid) << shift;
            }
        }
    } else {
        meta |= OVERFLOW_BIT;
    }
    *meta_word = meta;
    words
}

fn decode(words: [u64; WORDS]) -> Look<Entry> {
    let [row, meta, h0, h1, h2, h3, oids, d0, d1, d2, d3] = words;
    look(row, meta, || Entry {
        row,
        handle: unpack_handle(meta, [h0, h1, h2, h3]),
        digest: Digest(unpack_bytes([d0, d1, d2, d3])),
        hash: meta as u32,
        snapshot: snapshot(meta),
        flags: flags(meta),
        oids: unpack_oids(meta, oids),
    })
}

fn decode_for(oid: Oid, words: [u64; DIGEST]) -> Look<Handle> {
    let [row, meta, h0, h1, h2, h3, oids] = words;
    if meta & OVERFLOW_BIT == 0 && !unpack_oids(meta, oids).contains(&oid) {
        return Look::Vacant;
    }
    look(row, meta, || unpack_handle(meta, [h0, h1, h2, h3]))
}

fn look<T>(row: u64, meta: u64, inline: impl FnOnce() -> T) -> Look<T> {
    if row == 0 {
        Look::Vacant
    } else if meta & OVERFLOW_BIT != 0 {
        Look::Overflow { row, snapshot: snapshot(meta), flags: flags(meta) }
    } else {
        Look::Inline(inline())
    }
}

fn snapshot(meta: u64) -> Snapshot {
    part(meta, SNAPSHOT_SHIFT).max(part(meta, IN_MEMORY_SHIFT))
}

fn part(meta: u64, shift: u32) -> Snapshot {
    Snapshot::from_number(meta >> shift & 0xf)
}

fn flags(meta: u64) -> u8 {
    (meta >> FLAGS_SHIFT) as u8
}

fn unpack_handle(meta: u64, words: [u64; OIDS - HANDLE]) -> Handle {
    let len = (meta >> HANDLE_LEN_SHIFT & 0xff) as usize;
    Handle::from_buf_and_len(unpack_bytes(words), len.min(INLINE_HANDLE))
}

fn unpack_oids(meta: u64, word: u64) -> Oids {
    let count = (meta >> OID_COUNT_SHIFT & 0x7f) as usize;
    Oids::from_buf_and_len([word as u32, (word >> 32) as u32], count.min(INLINE_OIDS))
}

fn pack_bytes(bytes: &[u8], words: &mut [u64]) {
    for (word, chunk) in words.iter_mut().zip(bytes.chunks(8)) {
        let mut padded = [0u8; 8];
        for (to, from) in padded.iter_mut().zip(chunk) {
            *to = *from;
        }
        *word = u64::from_le_bytes(padded);
    }
}

fn unpack_bytes(words: [u64; 4]) -> [u8; 32] {
    bytemuck::cast(words.map(u64::to_le))
}

const _: () = assert!(INLINE_HANDLE == 32 && INLINE_OIDS == 2);
#[cfg(not(loom))]
const _: () = assert!(size_of::<Cell>() == 96);

#[cfg(all(test, not(loom)))]
#[expect(clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn entry(n: u8) -> Entry {
        Entry {
            row: 1 + u64::from(n),
            handle: Handle::from_slice(&[n; INLINE_HANDLE]),
            digest: Digest([n; 32]),
            hash: u32::from_le_bytes([n; 4]),
            snapshot: Snapshot::None,
            flags: n,
            oids: Oids::from_slice(&[u32::from_le_bytes([n; 4]); INLINE_OIDS]),
        }
    }

    /// A mark that nobody looks at.
    fn marked<T>(fill: impl FnOnce(Mark<'_>) -> T) -> T {
        let (stamp, begins, holds) = Default::default();
        fill(Mark { stamp: &stamp, begins: &begins, holds: &holds })
    }

    fn zeroed() -> Cell {
        Cell { words: SeqLock::new() }
    }

    #[test]
    fn a_look_gives_what_was_filled_in() {
        let cell = zeroed();
        assert!(matches!(cell.look(), Look::Vacant));
        for (handle, oids) in [(1, 0), (7, 1), (8, 2), (26, 1), (INLINE_HANDLE, INLINE_OIDS)] {
            let mut filled = entry(9);
            filled.handle.truncate(handle);
            filled.oids.truncate(oids);
            marked(|mark| cell.fill(&filled, mark, Stamp::NEVER));
            assert!(matches!(cell.look(), Look::Inline(found) if found == filled));
            let oid = entry(9).oids[0];
            match cell.look_for(oid) {
                Look::Inline(found) => assert!(oids > 0 && found == filled.handle),
                Look::Vacant => assert_eq!(oids, 0),
                Look::Overflow { .. } => panic!("it fits"),
            }
            assert!(matches!(cell.look_for(oid + 1), Look::Vacant));
            cell.set_snapshot(Snapshot::Complete);
            filled.snapshot = Snapshot::Complete;
            assert!(matches!(cell.look(), Look::Inline(found) if found == filled));
            assert_eq!(cell.snapshot(), Some(Snapshot::Complete));
            assert_eq!(cell.set_flags(0xa5), 9);
            filled.flags = 0xa5;
            assert!(matches!(cell.look(), Look::Inline(found) if found == filled));
            assert_eq!((cell.flags(), cell.row()), (0xa5, filled.row));
            marked(|mark| cell.vacate(mark));
            assert_eq!(cell.snapshot(), None);
            assert!(matches!(cell.look(), Look::Vacant));
        }
        let large = Entry { handle: Handle::from_slice(&[1; INLINE_HANDLE + 1]), ..entry(3) };
        marked(|mark| cell.fill(&large, mark, Stamp::NEVER));
        assert!(matches!(
            cell.look(),
            Look::Overflow { row: 4, snapshot: Snapshot::None, flags: 3 }
        ));
        assert!(matches!(cell.look_for(0), Look::Overflow { row: 4, .. }));
    }

    /// Short, so that an interpreter that explores weak orderings can run it.
    #[test]
    fn a_look_at_a_cell_that_changes_gives_one_entry_whole_or_nothing() {
        let rounds = if cfg!(miri) { 20 } else { 50_000 };
        let cell = zeroed();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut newest = 0;
                    for _ in 0..rounds {
                        if let Look::Inline(found) = cell.look() {
                            let n = found.handle.first().copied().unwrap_or_default();
                            assert_eq!(Entry { snapshot: Snapshot::None, ..found }, entry(n));
                            newest = n.max(newest);
                        }
                    }
                    newest
                });
            }
            for round in 0..rounds {
                marked(|mark| cell.fill(&entry((round % 250) as u8), mark, Stamp::NEVER));
                cell.set_snapshot(Snapshot::Started);
                marked(|mark| cell.vacate(mark));
            }
        });
    }
}
