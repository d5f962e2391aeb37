//! From the file into the index: all of it, when the store opens. What another writer
//! changes afterwards is in `follow.rs`.

use std::collections::HashMap;

use parking_lot::Mutex;
use rusqlite::{Connection, params};
use tracing::error;

use crate::{
    clock::Clock,
    entry::{Entry, RowId},
    file::{
        ages::LastRead,
        row::read_entry,
        scan::{self, PIECE},
        schema::{self, Position},
    },
    index::{BulkLoad, Index, Refusal, slab::EntryId},
    queue::Queue,
    shared::Shared,
};

/// Reads what the file has, at once or as it changes.
pub(crate) struct Loader<'a> {
    pub(super) index: &'a Index,
    pub(super) queue: &'a Mutex<Queue>,
    pub(super) clock: &'a Clock,
    /// Whether the file says when shapes were last read.
    pub(super) ages: bool,
}

impl<'a> Loader<'a> {
    /// A loader into the index of this store.
    pub(crate) fn of(shared: &'a Shared) -> Self {
        let ages = shared.options.keep_ages;
        Self { index: &shared.index, queue: &shared.queue, clock: &shared.clock, ages }
    }

    /// Reads every row into an empty index, with the help of a `second` connection if
    /// there may be one.
    pub(crate) fn load(
        &self,
        conn: &Connection,
        second: &(impl Fn() -> Option<Connection> + Sync),
    ) -> rusqlite::Result<Position> {
        // One transaction: the position has to belong to the rows.
        let tx = conn.unchecked_transaction()?;
        let position = schema::read_position(&tx)?;
        self.read_flags_version(&tx)?;
        let read = LastRead::kept(&tx, self.clock, self.ages);
        if scan::are_few(&tx)? {
            self.insert_from(&tx, 1, &read, |_, _| {})?;
        } else if !self.fill(&read, |take| scan::read_all(&tx, position, second, take))? {
            // Row by row, which tells what is wrong with which.
            self.clear();
            self.insert_from(&tx, 1, &read, |_, _| {})?;
        }
        tx.finish()?;
        self.start_rows_at(position.next_row);
        Ok(position)
    }

    /// Puts in the rows from this one on, in pieces.
    pub(super) fn insert_from(
        &self,
        conn: &Connection,
        first: RowId,
        last_read: &LastRead<'_>,
        mut inserted: impl FnMut(RowId, EntryId),
    ) -> rusqlite::Result<()> {
        let mut read = conn.prepare_cached(schema::READ_SHAPES_FROM)?;
        let mut rows = read.query(params![first as i64])?;
        let mut piece = Vec::with_capacity(PIECE);
        loop {
            let row = rows.next()?;
            let last = row.is_none();
            if let Some(row) = row {
                piece.push(read_entry(row)?);
            }
            if last || piece.len() == PIECE {
                self.insert_piece(&piece, last_read, &mut inserted);
                piece.clear();
            }
            if last {
                return Ok(());
            }
        }
    }

    /// Fills the empty index with every row. False when two rows have one handle or one
    /// digest, or there are too many.
    fn fill(
        &self,
        last_read: &LastRead<'_>,
        read_all: impl FnOnce(&mut dyn FnMut(Vec<Entry>) -> bool) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<bool> {
        let mut bulk = BulkLoad::new(self.index);
        let mut fits = true;
        read_all(&mut |piece| {
            let mutator = &mut self.queue.lock().mutator;
            fits = piece.iter().all(|entry| bulk.push(mutator, entry, last_read.of(entry.row)));
            fits
        })?;
        let tables = if fits { bulk.finish() } else { None };
        let all = tables.is_some();
        if let Some(tables) = tables {
            self.index.install(&mut self.queue.lock().mutator, tables);
        }
        Ok(all)
    }

    pub(super) fn insert_piece(
        &self,
        piece: &[Entry],
        last_read: &LastRead<'_>,
        mut inserted: impl FnMut(RowId, EntryId),
    ) {
        let mut queue = self.queue.lock();
        for entry in piece {
            let read = last_read.of(entry.row);
            match self.index.insert_read(&mut queue.mutator, entry, read, |_| {}) {
                Ok(id) => inserted(entry.row, id),
                // Followed as far as here before an error.
                Err(Refusal::Handle(id, there)) if there.row == entry.row => {
                    inserted(entry.row, id)
                }
                // No store writes such a row: somebody changed the file by hand.
                Err(Refusal::Handle(_, there) | Refusal::Shape(there)) => {
                    let handle = String::from_utf8_lossy(&entry.handle);
                    error!(%handle, row = entry.row, same_as = there.row, "left out a row that repeats another");
                }
                Err(Refusal::NoRoom) => {
                    error!(row = entry.row, "left out a row: the index is full");
                }
            }
        }
    }

    pub(super) fn read_flags_version(&self, tx: &Connection) -> rusqlite::Result<()> {
        self.index.flags.set_version(schema::read_flags_version(tx)?);
        Ok(())
    }

    pub(super) fn remove(&self, id: EntryId) {
        let mut queue = self.queue.lock();
        if let Some(entry) = self.index.get(id) {
            self.index.remove(&mut queue.mutator, id, &entry);
        }
    }

    /// Empties the index.
    pub(crate) fn clear(&self) {
        self.rows().into_values().for_each(|id| self.remove(id));
    }

    /// The rows the index has now.
    pub(super) fn rows(&self) -> HashMap<RowId, EntryId> {
        let ids = self.queue.lock().mutator.used();
        ids.filter_map(|id| Some((self.index.get(id)?.row, id))).collect()
    }

    /// Gives no row id below this one from here on.
    pub(crate) fn start_rows_at(&self, next_row: RowId) {
        let mut queue = self.queue.lock();
        queue.next_row = queue.next_row.max(next_row);
    }
}
