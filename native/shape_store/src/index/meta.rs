//! When entries were last read, and what of them the host keeps in flags.

use super::{Index, Meta, hash_digest};
use crate::{
    entry::{Brief, Digest, Entry, Handle, Oid, RowId},
    index::{
        cell::{Cell, Look, Name},
        mutator::Mutator,
        slab::EntryId,
        touch::{CellHold, Stamp},
    },
};

impl Index {
    /// All there is to know of the entry of a cell.
    pub(crate) fn meta(&self, id: EntryId) -> Option<Meta> {
        let (cell, mark) = self.slab.slot(id)?;
        let (look, stamp) = cell.look_at(mark);
        Some(Meta { entry: self.whole(look)?, read: stamp.time() })
    }

    pub(crate) fn meta_by_handle(&self, handle: &[u8]) -> Option<Meta> {
        self.by_handle.find(self.hash_handle(handle), |id| {
            self.meta(id).filter(|meta| meta.entry.handle.as_slice() == handle)
        })
    }

    pub(crate) fn meta_by_digest(&self, digest: &Digest) -> Option<Meta> {
        self.by_digest.find(hash_digest(digest), |id| {
            self.meta(id).filter(|meta| meta.entry.digest == *digest)
        })
    }

    /// The same, having noted that it was read.
    pub(crate) fn touch_by_digest(&self, digest: &Digest, stamp: Stamp) -> Option<Meta> {
        self.by_digest.find(hash_digest(digest), |id| {
            let (cell, mark) = self.slab.slot(id)?;
            // The cell is held from before the look, so the entry that is found may be marked.
            let held = mark.hold();
            let entry = self.whole(cell.look())?;
            let entry = (entry.digest == *digest).then_some(entry)?;
            let before = self.mark(id, cell, &held, |there| there.max(stamp));
            Some(Meta { entry, read: before.max(stamp).time() })
        })
    }

    /// Notes that the entry with this handle was read; false when there is none. Of several
    /// times the latest counts, whichever comes last.
    pub(crate) fn touch(&self, handle: &[u8], stamp: Stamp) -> bool {
        self.held_by_handle(handle, |id, cell, held| {
            self.mark(id, cell, held, |there| there.max(stamp));
        })
    }

    /// Says when the entry with this handle was last read; false when there is none.
    pub(crate) fn set_read(&self, handle: &[u8], stamp: Stamp) -> bool {
        self.held_by_handle(handle, |id, cell, held| {
            self.mark(id, cell, held, |_| stamp);
        })
    }

    /// Marks an entry, and gives the mark that there was.
    fn mark(
        &self,
        id: EntryId,
        cell: &Cell,
        held: &CellHold<'_>,
        to: impl Fn(Stamp) -> Stamp,
    ) -> Stamp {
        let look = self.images.look();
        held.replace(to, |there| {
            if let Some(look) = look {
                // This is the row of the entry that was found, or 0 when it has gone:
                // nothing else comes into a cell that is held.
                self.images.note(look, id, cell.row(), there);
            }
        })
    }

    fn held_by_handle(&self, handle: &[u8], mark: impl Fn(EntryId, &Cell, &CellHold<'_>)) -> bool {
        let name = Name::of(handle);
        let found = self.by_handle.find(self.hash_handle(handle), |id| {
            let (cell, at) = self.slab.slot(id)?;
            // The cell is held from before the look, so the entry that is found may be marked.
            let held = at.hold();
            self.brief_in(cell, handle, &name)?;
            mark(id, cell, &held);
            Some(())
        });
        found.is_some()
    }

    /// The entry with this handle, in brief.
    pub(crate) fn brief(&self, handle: &[u8]) -> Option<Brief> {
        let name = Name::of(handle);
        let hash = self.hash_handle(handle);
        self.by_handle.find(hash, |id| self.brief_in(self.slab.get(id)?, handle, &name))
    }

    /// The same for one that is likely to be in this cell.
    pub(crate) fn brief_near(&self, id: EntryId, handle: &[u8]) -> Option<Brief> {
        let here = self.slab.get(id);
        let here = here.and_then(|cell| self.brief_in(cell, handle, &Name::of(handle)));
        here.or_else(|| self.brief(handle))
    }

    /// The handle of the entry of a cell, if it is filled, and its first table, or 0.
    pub(crate) fn placed(&self, id: EntryId) -> Option<(Handle, Oid)> {
        match self.slab.get(id)?.look_placed() {
            Look::Vacant => None,
            Look::Inline(placed) => Some(placed),
            Look::Overflow { row, .. } => {
                let overflow = self.overflow.read();
                let Entry { handle, oids, .. } = &**overflow.get(&row)?;
                Some((handle.clone(), oids.first().copied().unwrap_or_default()))
            }
        }
    }

    /// The entry of a cell in brief, if it has this handle.
    #[inline]
    fn brief_in(&self, cell: &Cell, handle: &[u8], name: &Option<Name>) -> Option<Brief> {
        let look = match name {
            Some(name) => cell.look_named(name),
            None => cell.look_long(),
        };
        match look {
            Look::Vacant => None,
            Look::Inline(brief) => Some(brief),
            Look::Overflow { row, snapshot, .. } => {
                let overflow = self.overflow.read();
                let entry = overflow.get(&row)?;
                let hash = entry.hash;
                (entry.handle.as_slice() == handle).then_some(Brief { hash, snapshot })
            }
        }
    }

    /// The entry that a look gave, with what the overflow map has of it.
    pub(super) fn whole(&self, look: Look<Entry>) -> Option<Entry> {
        match look {
            Look::Vacant => None,
            Look::Inline(entry) => Some(entry),
            Look::Overflow { row, snapshot, flags } => {
                let whole = self.overflow.read().get(&row).map(std::sync::Arc::clone)?;
                Some(Entry { snapshot, flags, ..(*whole).clone() })
            }
        }
    }

    /// Sets the flags of the entry of this id, and gives those there were.
    pub(crate) fn set_flags(&self, _mutator: &mut Mutator, id: EntryId, flags: u8) -> Option<u8> {
        let cell = self.slab.get(id).filter(|cell| cell.row() != 0)?;
        let before = cell.set_flags(flags);
        self.flags.went(before);
        self.flags.came(flags);
        Some(before)
    }

    /// When one of these was last read.
    pub(crate) fn latest_read(&self, ids: std::ops::Range<EntryId>) -> Stamp {
        let pieces = self.slab.pieces(ids).flat_map(|piece| piece.stamps);
        pieces.map(Stamp::load).max().unwrap_or(Stamp::NEVER)
    }

    /// The row of each entry among these ids that was ever read, and when it was last.
    pub(crate) fn read_rows(
        &self,
        ids: std::ops::Range<EntryId>,
    ) -> impl Iterator<Item = (RowId, Stamp)> {
        let rows = ids.filter_map(|id| {
            let (cell, mark) = self.slab.slot(id)?;
            cell.row_at(mark)
        });
        rows.filter(|(_, stamp)| *stamp != Stamp::NEVER)
    }
}
