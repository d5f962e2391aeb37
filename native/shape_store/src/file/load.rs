//! From the file into the index: all of it, when the store opens. What another writer
//! changes afterwards is in `follow.rs`.

use std::{collections::HashMap, panic::resume_unwind, thread};

use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;
use rusqlite::{Connection, params};
use tracing::error;

use crate::{
    clock::Clock,
    entry::{Entry, RowId},
    file::{
        ages::LastRead,
        scan::{self, PIECE},
        schema::{self, Position},
    },
    index::{BuiltTables, BulkLoad, Index, Refusal, slab::EntryId},
    queue::Queue,
    shared::Shared,
};

/// How many pieces may wait to go in.
const PIECES_AHEAD: usize = 16;

/// Reads what the file has, at once or as it changes.
pub(crate) struct Loader<'a> {
    pub(super) index: &'a Index,
    pub(super) queue: &'a Mutex<Queue>,
    pub(super) clock: &'a Clock,
    /// Whether the file says when shapes were last read.
    pub(super) ages: bool,
}

impl<'a> Loader<'a> {
    /// Into the index of this store.
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
        } else if !self.fill(&read, |pieces| scan::read_all(&tx, position, second, pieces))? {
            // One by one, which tells what is wrong with which.
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
                piece.push(schema::read_entry(row)?);
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

    /// Fills the empty index with every row, reading the next ones meanwhile. False
    /// when two rows have one handle or one digest, or there are too many, and when there
    /// is no thread to be had for it.
    fn fill(
        &self,
        last_read: &LastRead<'_>,
        read_all: impl FnOnce(&Sender<Vec<Entry>>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<bool> {
        let filled = thread::scope(|scope| {
            let (send, receive) = crossbeam_channel::bounded(PIECES_AHEAD);
            let fill_in = move || self.fill_in(&receive, last_read);
            // Without a thread to be had nobody would take the pieces.
            let Ok(bulk) = thread::Builder::new().spawn_scoped(scope, fill_in) else {
                return Ok(None);
            };
            // The other end hears of the last piece even when reading fails.
            let read = read_all(&send);
            drop(send);
            let filled = bulk.join().unwrap_or_else(|panic| resume_unwind(panic));
            read.map(|()| filled)
        })?;
        let all = filled.is_some();
        if let Some(filled) = filled {
            self.index.install(&mut self.queue.lock().free, filled);
        }
        Ok(all)
    }

    fn fill_in(
        &self,
        pieces: &Receiver<Vec<Entry>>,
        last_read: &LastRead<'_>,
    ) -> Option<BuiltTables> {
        let mut bulk = BulkLoad::new(self.index);
        for piece in pieces {
            let mut queue = self.queue.lock();
            for entry in &piece {
                bulk.push(&mut queue.free, entry, last_read.of(entry.row))?;
            }
        }
        bulk.finish()
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
            match self.index.insert_read(&mut queue.free, entry, read, |_| {}) {
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
            self.index.remove(&mut queue.free, id, &entry);
        }
    }

    /// Empties the index.
    pub(crate) fn clear(&self) {
        self.rows().into_values().for_each(|id| self.remove(id));
    }

    /// The rows the index has now.
    pub(super) fn rows(&self) -> HashMap<RowId, EntryId> {
        let ids = self.queue.lock().free.used();
        ids.filter_map(|id| Some((self.index.get(id)?.row, id))).collect()
    }

    /// Gives no row id below this one from here on.
    pub(crate) fn start_rows_at(&self, next_row: RowId) {
        let mut queue = self.queue.lock();
        queue.next_row = queue.next_row.max(next_row);
    }
}
