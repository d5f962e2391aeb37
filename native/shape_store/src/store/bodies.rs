//! Where the body of a shape is; for one, and for a list.

use std::sync::Arc;

use super::Store;
use crate::{
    cache::{
        self, BodyKey,
        body::{Body, Dictionary},
    },
    entry::{Entry, Handle, Oid},
    index::slab::EntryId,
};

/// Where the body of a shape is.
#[derive(Debug)]
pub enum Found {
    /// In memory.
    Warm(Body),
    /// On disk, for this shape.
    Cold(Entry),
}

/// A shape as a list found it: its handle, and where it was then.
#[derive(Clone, Debug)]
pub struct Place {
    pub(super) id: EntryId,
    /// Its name.
    pub handle: Handle,
    /// The first of the tables it reads, or 0.
    pub table: Oid,
}

/// A shape as a lookup found it.
#[derive(Debug)]
pub struct Located {
    /// All the index knows of it.
    pub entry: Entry,
    /// Names its body among all that the store reads in its life.
    pub key: BodyKey,
}

impl Store {
    /// Where the body of a shape is.
    pub fn body(&self, handle: &[u8]) -> Option<Found> {
        Some(self.body_of(self.locate(handle)?))
    }

    /// The shape that has this handle, and the key of its body.
    pub fn locate(&self, handle: &[u8]) -> Option<Located> {
        self.locate_by(|| self.entry(handle))
    }

    /// The same for an entry that is looked up here: one of the database that was read before
    /// must not get the body that its row has in the next one.
    fn locate_by(&self, entry: impl FnOnce() -> Option<Entry>) -> Option<Located> {
        let database = self.shared.cache.database();
        let entry = entry()?;
        Some(Located { key: cache::key(database, entry.row), entry })
    }

    /// Where the body of this shape is.
    pub fn body_of(&self, located: Located) -> Found {
        let Located { entry, key } = located;
        // Pending is asked first, as a body goes into the cache before it leaves pending.
        let pending = self.shared.pending.body(entry.row);
        let warm = pending.or_else(|| self.shared.cache.get_by(key));
        warm.map_or(Found::Cold(entry), Found::Warm)
    }

    /// Gives up a shape whose definition was read whole and is of no use: it is removed and
    /// reported as one whose body is damaged, unless the handle has another by now.
    pub fn lose(&self, entry: &Entry, reason: &str) {
        (self.shared.scope)(&mut || self.shared.lose(entry, reason));
    }

    /// Has the file looked into, after an error of a lent connection that may come of it.
    pub fn suspect(&self, error: &rusqlite::Error) {
        self.shared.suspect_lent(error);
    }

    /// Leaves so many bytes of the cache to what the caller keeps of shapes.
    pub fn lend_cache(&self, bytes: usize) {
        self.shared.cache.resize(self.shared.options.cache_bytes.saturating_sub(bytes));
    }

    /// How many bytes of the cache bodies do not take, those that were lent among them.
    pub fn cache_room(&self) -> usize {
        let bytes = usize::try_from(self.shared.cache.bytes()).unwrap_or(usize::MAX);
        self.shared.options.cache_bytes.saturating_sub(bytes)
    }

    /// Counts as a read of this shape's body, if it is in the cache.
    pub fn want(&self, key: BodyKey) {
        self.shared.cache.want(key);
    }

    /// What unpacks the bodies that this store gives.
    pub fn dictionary(&self) -> &Arc<Dictionary> {
        &self.shared.dictionary
    }

    /// All shapes there are, in no order, but near to that of the file.
    pub fn places(&self) -> Vec<Place> {
        let ids = self.shared.queue.lock().mutator.used();
        let mut places = Vec::with_capacity(self.count());
        places.extend(ids.filter_map(|id| {
            let (handle, table) = self.shared.index.placed(id)?;
            Some(Place { id, handle, table })
        }));
        places
    }

    /// All the index knows of the shape that has the handle of a place, there or
    /// elsewhere.
    pub fn entry_at(&self, place: &Place) -> Option<Entry> {
        let here = self.shared.index.get(place.id).filter(|entry| entry.handle == place.handle);
        here.or_else(|| self.entry(&place.handle))
    }

    /// Where the body of that shape is.
    pub fn body_at(&self, place: &Place) -> Option<Found> {
        Some(self.body_of(self.locate_by(|| self.entry_at(place))?))
    }
}
