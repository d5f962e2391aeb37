//! Lookups, lists, and bodies from wherever they are.

use std::sync::Arc;

use rusqlite::{CachedStatement, Connection};

use super::Store;
use crate::{
    Notify,
    body::{Body, Dictionary},
    command::{Bodies, Command, Reply},
    entry::{Digest, Entry, Handle, Oid, RowId},
    error::ReadError,
    schema::{self, Stored},
    slab::EntryId,
    state::State,
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
    id: EntryId,
    /// Its name.
    pub handle: Handle,
    /// The first of the tables it reads, or 0.
    pub table: Oid,
}

impl Store {
    /// The handle of the shape with this digest.
    pub fn handle_for(&self, digest: &Digest) -> Option<Handle> {
        self.shared.index.by_digest(digest).map(|(_, entry)| entry.handle)
    }

    /// All the index knows of a shape.
    pub fn entry(&self, handle: &[u8]) -> Option<Entry> {
        self.shared.index.by_handle(handle).map(|(_, entry)| entry)
    }

    /// Where the body of a shape is.
    pub fn body(&self, handle: &[u8]) -> Option<Found> {
        let (_, entry) = self.shared.index.by_handle(handle)?;
        Some(self.body_of(entry))
    }

    /// Where the body of this shape is.
    pub fn body_of(&self, entry: Entry) -> Found {
        // Pending first: a body goes into the cache before it leaves there.
        let row = entry.row;
        let warm = self.shared.pending.body(row).or_else(|| self.shared.bodies.get(row));
        warm.map_or(Found::Cold(entry), Found::Warm)
    }

    /// Reads the body of a shape from disk, unless it is in memory by now, and keeps it
    /// warm; none for a shape that is gone, or is lost as its body is damaged.
    ///
    /// Touches the disk. In exclusive mode use [`Store::ask_bodies`].
    pub fn read_body(&self, entry: &Entry) -> Result<Option<Body>, ReadError> {
        if let Found::Warm(body) = self.body_of(entry.clone()) {
            return Ok(Some(body));
        }
        let stored = self.read(|conn| schema::read_body(conn, entry))?;
        let body = self.shared.take_whole(entry, stored);
        if let Some(body) = &body {
            self.shared.bodies.keep_wanted(entry.row, self.shared.dictionary.pack(body));
        }
        Ok(body)
    }

    /// Shows `visit` the body of each place in turn, from memory or from disk; none
    /// for a shape that went in the meantime, though it may have been added again, or
    /// whose body is damaged. None is kept warm, so that a list does not push out what is
    /// asked for.
    ///
    /// Touches the disk. In exclusive mode use [`Store::ask_bodies`].
    pub fn read_places(
        &self,
        places: &[Place],
        mut visit: impl FnMut(&Place, Option<&[u8]>),
    ) -> Result<(), ReadError> {
        let found: Vec<_> = places.iter().map(|place| self.body_at(place)).collect();
        let mut buffer = Vec::new();
        let mut damaged = Vec::new();
        let mut show = |mut cold: Option<&mut CachedStatement<'_>>| {
            for (place, found) in places.iter().zip(&found) {
                match (found, &mut cold) {
                    (Some(Found::Warm(body)), _) => {
                        visit(place, Some(self.shared.dictionary.unpack(body, &mut buffer)));
                    }
                    (Some(Found::Cold(entry)), Some(read)) => {
                        let show = |body: &[u8]| visit(place, Some(body));
                        match schema::read_body_by(read, entry, show)? {
                            Stored::Whole(()) => {}
                            Stored::Gone => visit(place, None),
                            Stored::Damaged => {
                                visit(place, None);
                                damaged.push(entry.clone());
                            }
                        }
                    }
                    (None, _) | (Some(Found::Cold(_)), None) => visit(place, None),
                }
            }
            Ok(())
        };
        let read = match found.iter().any(|found| matches!(found, Some(Found::Cold(_)))) {
            false => show(None).map_err(ReadError::Sqlite),
            true => self.read(|conn| {
                // One look at the file: each by itself would lock it anew.
                let snapshot = conn.unchecked_transaction()?;
                let mut read = snapshot.prepare_cached(schema::READ_BODY)?;
                show(Some(&mut read))
            }),
        };
        damaged.iter().for_each(|entry| {
            self.shared.lose(entry, "its definition is damaged in the file");
        });
        read
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, ReadError> {
        let shared = &*self.shared;
        if matches!(shared.state(), State::Closed | State::Poisoned) {
            return Err(ReadError::Closed);
        }
        shared.readers.with(read).inspect_err(|error| shared.suspect(error))
    }

    /// Gives up a shape whose definition was read whole and is of no use: it is removed and
    /// reported as one whose body is damaged, unless the handle has another by now.
    pub fn lose(&self, entry: &Entry, reason: &str) {
        self.shared.lose(entry, reason);
    }

    /// Has the file looked into, after an error of a lent connection that may come of it.
    pub fn suspect(&self, error: &rusqlite::Error) {
        self.shared.suspect_lent(error);
    }

    /// Leaves so many bytes of the cache to what the caller keeps of shapes.
    pub fn lend_cache(&self, bytes: usize) {
        self.shared.bodies.resize(self.shared.options.cache_bytes.saturating_sub(bytes));
    }

    /// How many bytes of the cache bodies do not take, those that were lent among them.
    pub fn cache_room(&self) -> usize {
        let bytes = usize::try_from(self.shared.bodies.bytes()).unwrap_or(usize::MAX);
        self.shared.options.cache_bytes.saturating_sub(bytes)
    }

    /// Counts as a read of this shape's body, if it is in the cache.
    pub fn want(&self, row: RowId) {
        self.shared.bodies.want(row);
    }

    /// What unpacks the bodies that this store gives.
    pub fn dictionary(&self) -> &Arc<Dictionary> {
        &self.shared.dictionary
    }

    /// Asks the writer to read the bodies of shapes between two batches: in exclusive mode it
    /// has the only connection. While the file is written anew the answer waits for that.
    pub fn ask_bodies(&self, entries: Vec<Entry>, notify: Notify<Bodies>) {
        let reply = Reply::new(notify, || Err(ReadError::Closed));
        self.shared.command(Command::Read(entries, reply));
    }

    /// Whether there is one connection for everything.
    pub fn is_exclusive(&self) -> bool {
        self.shared.options.exclusive
    }

    /// How many shapes there are.
    pub fn count(&self) -> usize {
        self.shared.index.count()
    }

    /// The handles of all shapes that read one of these tables, sorted, without
    /// repetition. `None` when there are more than `limit`.
    pub fn handles_for_relations(&self, oids: &[Oid], limit: usize) -> Option<Vec<Handle>> {
        self.shared.index.for_relations(oids, limit)
    }

    /// All shapes there are, in no order, but near to that of the file.
    pub fn places(&self) -> Vec<Place> {
        let ids = self.shared.queue.lock().free.used();
        let mut places = Vec::with_capacity(self.count());
        places.extend(ids.filter_map(|id| {
            let Entry { handle, oids, .. } = self.shared.index.get(id)?;
            Some(Place { id, handle, table: oids.first().copied().unwrap_or_default() })
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
        Some(self.body_of(self.entry_at(place)?))
    }

    /// Whether the shape's add is not committed.
    pub fn is_pending(&self, entry: &Entry) -> bool {
        self.shared.pending.holds(entry.row)
    }

    /// The shapes whose adds are not committed, in no order. Looks at each.
    pub fn pending_entries(&self) -> Vec<Entry> {
        let added = self.shared.pending.added_ids();
        let entries = added
            .into_iter()
            .filter_map(|(row, id)| self.shared.index.get(id).filter(|entry| entry.row == row));
        entries.collect()
    }

    /// The handles without a shape whose removal is not committed, in no order.
    /// Looks at each.
    pub fn pending_removals(&self) -> Vec<Handle> {
        let mut handles = self.shared.pending.removed_handles();
        handles.retain(|handle| self.shared.index.by_handle(handle).is_none());
        handles
    }

    /// Operations queued and not committed.
    pub fn pending_ops(&self) -> usize {
        self.shared.queue.lock().load().ops
    }

    /// Queued adds less queued removes.
    pub fn pending_count_diff(&self) -> i64 {
        self.shared.queue.lock().count_diff()
    }
}
