//! Lookups, lists, and bodies from wherever they are.

use std::{path::PathBuf, sync::Arc};

use rusqlite::{CachedStatement, Connection};

use super::Store;
use crate::{
    Notify,
    cache::{
        self, BodyKey,
        body::{Body, Dictionary},
    },
    entry::{Digest, Entry, Handle, Oid},
    error::{OpenError, ReadError},
    file::{
        handle_list::write_list,
        schema::{self, Stored},
    },
    index::slab::EntryId,
    state::State,
    store::stored_bodies::DAMAGED,
    writer::command::{Command, ReadBodies, Reply},
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
        // Pending first: a body goes into the cache before it leaves there.
        let pending = self.shared.pending.body(entry.row);
        let warm = pending.or_else(|| self.shared.cache.get_by(key));
        warm.map_or(Found::Cold(entry), Found::Warm)
    }

    /// Reads the body of a shape from disk, and keeps it warm; none for a shape that is gone,
    /// or is lost as its body is damaged.
    ///
    /// Touches the disk. In exclusive mode use [`Store::ask_bodies`].
    pub fn read_body(&self, entry: &Entry) -> Result<Option<Body>, ReadError> {
        // Before a reader is had: what it reads is of this database, or of one before.
        let database = self.shared.cache.database();
        let one = std::slice::from_ref(entry);
        let bodies = self.read(|conn| self.shared.read_stored(conn, database, one))?;
        Ok(bodies.into_iter().next().flatten())
    }

    /// Shows `visit` the body of each place in turn, from memory or from disk, for as long as
    /// it wants more; none for a shape that went in the meantime, though it may have been
    /// added again, or whose body is damaged. None is kept warm, so that a list does not push
    /// out what is asked for. It is [`Store::read_body`] for many, without a copy of each.
    ///
    /// Touches the disk. In exclusive mode use [`Store::ask_bodies`].
    pub fn read_places(
        &self,
        places: &[Place],
        mut visit: impl FnMut(&Place, Option<&[u8]>) -> bool,
    ) -> Result<(), ReadError> {
        let found: Vec<_> = places.iter().map(|place| self.body_at(place)).collect();
        let mut buffer = Vec::new();
        let mut damaged = Vec::new();
        let mut show = |mut cold: Option<&mut CachedStatement<'_>>| {
            for (place, found) in places.iter().zip(&found) {
                let more = match (found, &mut cold) {
                    (Some(Found::Warm(body)), _) => {
                        visit(place, Some(self.shared.dictionary.unpack(body, &mut buffer)))
                    }
                    (Some(Found::Cold(entry)), Some(read)) => {
                        let show = |body: &[u8]| visit(place, Some(body));
                        match schema::read_body_by(read, entry, show)? {
                            Stored::Whole(more) => more,
                            Stored::Gone => visit(place, None),
                            Stored::Damaged => {
                                damaged.push(entry.clone());
                                visit(place, None)
                            }
                        }
                    }
                    (None, _) | (Some(Found::Cold(_)), None) => visit(place, None),
                };
                if !more {
                    break;
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
            self.shared.lose(entry, DAMAGED);
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

    /// Asks the writer to read the bodies of shapes between two batches: in exclusive mode it
    /// has the only connection. It reads the first of them, up to a bound in bytes. While the
    /// file is written anew the answer waits for that.
    pub fn ask_bodies(&self, entries: Vec<Entry>, notify: Notify<ReadBodies>) {
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
        Some(self.body_of(self.locate_by(|| self.entry_at(place))?))
    }

    /// Whether the shape's add is not committed.
    pub fn is_pending(&self, entry: &Entry) -> bool {
        self.shared.pending.holds(entry.row)
    }

    /// Whether the removal of a shape with this handle is not committed, and no shape
    /// has it again.
    pub fn is_removal_pending(&self, handle: &[u8]) -> bool {
        self.shared.pending.is_removed(handle) && self.entry(handle).is_none()
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

    /// Names the adds and removals that are not committed in a file beside the database, and
    /// says where and how many; none when there are none, or no file.
    ///
    /// Touches the disk, which may be why they are not committed.
    pub fn list_pending(&self) -> Result<Option<(PathBuf, usize)>, OpenError> {
        let adds = self.pending_entries().into_iter().map(|entry| ("add", entry.handle));
        let removals = self.pending_removals().into_iter().map(|handle| ("remove", handle));
        let lines: Vec<_> = adds.chain(removals).collect();
        if lines.is_empty() || !self.shared.has_file() {
            return Ok(None);
        }
        let count = lines.len();
        let system = &*self.shared.options.system;
        let path = write_list(system, self.shared.path(), "not-committed", lines.into_iter())?;
        Ok(Some((path, count)))
    }

    /// Operations queued and not committed.
    pub fn pending_ops(&self) -> usize {
        self.shared.queue.lock().size().ops
    }

    /// Queued adds less queued removes.
    pub fn pending_count_diff(&self) -> i64 {
        self.shared.queue.lock().count_diff()
    }
}
