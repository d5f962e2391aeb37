//! One entry in shared memory, readable at any moment without a lock.
//!
//! Its words are under a sequence lock, and only filling and vacating replace them:
//! a reader that is told that they were being replaced can say "nothing here", which
//! was true at some moment of its look. The fields that change while a shape lives, its
//! snapshot and its flags, are part of a single word. When it was last read stands beside
//! the cell; see `touch.rs`.

mod words;

pub(crate) use self::words::Look;
use self::words::{
    FLAGS_SHIFT, HANDLE, HANDLE_LEN_SHIFT, IN_MEMORY_SHIFT, META, OIDS, OVERFLOW_BIT, ROW,
    SNAPSHOT_SHIFT, WORDS, brief, decode, decode_for, decode_placed, encode, flags, in_order, look,
    pack_bytes, part, snapshot,
};
use crate::{
    entry::{Brief, Entry, Handle, INLINE_HANDLE, Oid, RowId, Snapshot},
    index::{
        seqlock::SeqLock,
        touch::{Mark, Stamp},
    },
};

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

impl Cell {
    /// The entry in brief, if it has this handle or is not inline.
    pub(crate) fn look_named(&self, name: &Name) -> Look<Brief> {
        let Some([row, meta, words @ ..]) = self.words.read::<OIDS>() else { return Look::Vacant };
        let is_named = words == name.words && meta >> HANDLE_LEN_SHIFT & 0xff == name.len;
        if meta & OVERFLOW_BIT == 0 && !is_named {
            return Look::Vacant;
        }
        look(row, meta, || brief(meta))
    }

    /// The same for a handle that no inline entry has.
    pub(crate) fn look_long(&self) -> Look<Brief> {
        let Some([row, meta]) = self.words.read() else { return Look::Vacant };
        if meta & OVERFLOW_BIT == 0 { Look::Vacant } else { look(row, meta, || brief(meta)) }
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

    /// The handle of the entry, if there is one, and the first table it reads, or 0.
    pub(crate) fn look_placed(&self) -> Look<(Handle, Oid)> {
        self.words.read().map_or(Look::Vacant, decode_placed)
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

#[cfg(not(loom))]
const _: () = assert!(size_of::<Cell>() == 96);

#[cfg(all(test, not(loom)))]
#[expect(clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]
mod tests;
