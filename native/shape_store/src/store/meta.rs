//! When shapes were last read, and all else that a request asks of one.

use super::{Place, Store};
use crate::{
    entry::{Brief, Digest, Handle, Meta, Snapshot},
    error::ChangeError,
    index::touch::Stamp,
};

/// The shapes that were read longest ago.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Coldest {
    /// Least recent first.
    pub handles: Vec<Handle>,
    /// When the last of them was read.
    pub last_read: Option<i64>,
}

impl Store {
    /// Notes that a shape was read at this time, which the caller looked up for it; false
    /// when there is none. Of several times the latest counts.
    pub fn touch(&self, handle: &[u8], now: i64) -> bool {
        self.shared.index.touch(handle, Stamp::at(now))
    }

    /// Says when a shape was last read, earlier or later than what was known; false when
    /// there is none.
    pub fn set_last_read(&self, handle: &[u8], time: i64) -> bool {
        self.shared.index.set_read(handle, Stamp::at(time))
    }

    /// A shape in brief.
    pub fn brief(&self, handle: &[u8]) -> Option<Brief> {
        self.shared.index.brief(handle)
    }

    /// The same of the shape that has the handle of a place, there or elsewhere.
    pub fn brief_at(&self, place: &Place) -> Option<Brief> {
        self.shared.index.brief_near(place.id, &place.handle)
    }

    /// All there is to know of a shape.
    pub fn meta(&self, handle: &[u8]) -> Option<Meta> {
        self.shared.index.meta_by_handle(handle)
    }

    /// The same of the shape with this digest; with a time, having noted that it was read
    /// then.
    pub fn lookup(&self, digest: &Digest, now: Option<i64>) -> Option<Meta> {
        match now {
            Some(now) => self.shared.index.touch_by_digest(digest, Stamp::at(now)),
            None => self.shared.index.meta_by_digest(digest),
        }
    }

    /// The same of the shape that has the handle of a place, there or elsewhere.
    pub fn meta_at(&self, place: &Place) -> Option<Meta> {
        let here = self.shared.index.meta(place.id);
        let here = here.filter(|meta| meta.entry.handle == place.handle);
        here.or_else(|| self.meta(&place.handle))
    }

    /// The `n` shapes that were read longest ago, least recent first, by handle where that is
    /// the same time, and without those that were never read. Looks at all. `now` is the
    /// host's time.
    pub fn least_recently_read(&self, n: usize, now: i64) -> Coldest {
        self.shared.clock.set(now);
        // More than there can be.
        let n = n.min(u32::MAX as usize);
        let used = || self.shared.queue.lock().mutator.used();
        let found = self.shared.index.least_recently_read(n, used);
        let last_read = found.last().and_then(|(_, stamp)| stamp.time());
        Coldest { handles: found.into_iter().map(|(handle, _)| handle).collect(), last_read }
    }

    /// Moves a shape's snapshot on in memory alone, where it is lost with the store.
    pub fn mark_in_memory(&self, handle: &[u8], snapshot: Snapshot) -> Result<(), ChangeError> {
        let mut queue = self.shared.queue.lock();
        let (id, entry) =
            self.shared.index.known(&queue.mutator, handle).ok_or(ChangeError::Unknown)?;
        let snapshot = snapshot.max(entry.snapshot);
        self.shared.index.set_snapshot_in_memory(&mut queue.mutator, id, snapshot);
        Ok(())
    }

    /// A shape's snapshot as the file has it or is to have it, without what
    /// [`Store::mark_in_memory`] added.
    pub fn saved_snapshot(&self, handle: &[u8]) -> Option<Snapshot> {
        let mut queue = self.shared.queue.lock();
        let (id, entry) = self.shared.index.known(&queue.mutator, handle)?;
        self.shared.index.saved_snapshot(&mut queue.mutator, id, entry.row)
    }
}
