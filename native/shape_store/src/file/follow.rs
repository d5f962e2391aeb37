//! What another writer of the file changed, into the index of a follower.

use std::collections::HashMap;

use rusqlite::{Connection, Row, params};

use crate::{
    entry::{Entry, RowId, Snapshot},
    file::{
        ages::LastRead,
        load::Loader,
        row::{read_entry, unpack_rows},
        scan::PIECE,
        schema::{self, Position},
    },
    index::slab::EntryId,
};

/// How far a standby has read, and which entry each row is.
pub(crate) struct Followed {
    position: Position,
    rows: HashMap<RowId, EntryId>,
}

impl Followed {
    pub(crate) fn position(&self) -> Position {
        self.position
    }
}

impl Loader<'_> {
    /// Makes the index what the file is, whatever it was before, and remembers
    /// the rows so that changes can be followed. What is in both stays findable
    /// throughout.
    pub(crate) fn load_to_follow(&self, conn: &Connection) -> rusqlite::Result<Followed> {
        let tx = conn.unchecked_transaction()?;
        let position = schema::read_position(&tx)?;
        self.read_flags_version(&tx)?;
        let mut gone = self.rows();
        // A shape that is added to those that were followed before was read elsewhere, just now.
        let read = LastRead::kept(&tx, self.clock, self.ages && gone.is_empty());
        let mut rows = HashMap::new();
        let mut new = Vec::new();
        let mut statement = tx.prepare_cached(schema::READ_SHAPES_FROM)?;
        let mut stored = statement.query(params![1])?;
        while let Some(row) = stored.next()? {
            let entry = read_entry(row)?;
            // The same row may be another shape: one this store added and never
            // committed before the other took over.
            let same = |id: &EntryId| {
                let there = self.index.get(*id);
                let Entry { snapshot, flags, .. } = entry;
                there.is_some_and(|there| Entry { snapshot, flags, ..there } == entry)
            };
            match gone.get(&entry.row).copied().filter(same) {
                Some(id) => {
                    gone.remove(&entry.row);
                    rows.insert(entry.row, id);
                    self.change(id, entry.snapshot, entry.flags);
                }
                None => new.push(entry),
            }
        }
        drop(stored);
        drop(statement);
        tx.finish()?;
        // What is gone first: it may have had the handle of something new.
        gone.into_values().for_each(|id| self.remove(id));
        for piece in new.chunks(PIECE) {
            self.insert_piece(piece, &read, |row, id| {
                rows.insert(row, id);
            });
        }
        self.start_rows_at(position.next_row);
        Ok(Followed { position, rows })
    }

    /// Brings the index up to what the file has now. After an error it may be
    /// called again.
    pub(crate) fn follow(&self, conn: &Connection, seen: &mut Followed) -> rusqlite::Result<()> {
        let tx = conn.unchecked_transaction()?;
        let position = schema::read_position(&tx)?;
        let Some(changed) = changed_rows(&tx, seen.position)? else {
            tx.finish()?;
            *seen = self.load_to_follow(conn)?;
            return Ok(());
        };
        self.read_flags_version(&tx)?;
        let mut read = tx.prepare_cached(schema::READ_CHANGING)?;
        for row in changed {
            // A row that is new since comes with the insertions below.
            let Some(id) = seen.rows.get(&row).copied() else { continue };
            let changing = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
            match read.query_row(params![row as i64], changing) {
                Ok((number, flags)) => {
                    self.change(id, Snapshot::from_number(number.unsigned_abs()), flags as u8);
                }
                Err(rusqlite::Error::QueryReturnedNoRows) => {
                    self.remove(id);
                    seen.rows.remove(&row);
                }
                Err(error) => return Err(error),
            }
        }
        drop(read);
        let now = LastRead::now(self.clock);
        self.insert_from(&tx, seen.position.next_row, &now, |row, id| {
            seen.rows.insert(row, id);
        })?;
        tx.finish()?;
        seen.position = position;
        self.start_rows_at(position.next_row);
        Ok(())
    }

    /// Makes what changes of an entry what the file says, so that a change that was given up
    /// is undone. What is known of its snapshot in memory alone stays.
    fn change(&self, id: EntryId, snapshot: Snapshot, flags: u8) {
        let mutator = &mut self.queue.lock().mutator;
        self.index.set_snapshot(mutator, id, snapshot);
        self.index.set_flags(mutator, id, flags);
    }
}

/// The rows changed since, or `None` when that is no longer known.
fn changed_rows(conn: &Connection, seen: Position) -> rusqlite::Result<Option<Vec<RowId>>> {
    let mut read = conn.prepare_cached(schema::READ_CHANGES)?;
    let mut batches = read.query(params![seen.batch as i64])?;
    let mut rows = Vec::new();
    let mut expected = seen.batch as i64 + 1;
    while let Some(batch) = batches.next()? {
        if batch.get::<_, i64>(0)? != expected {
            return Ok(None);
        }
        expected += 1;
        rows.extend(unpack_rows(batch.get_ref(2)?.as_blob()?));
    }
    Ok((!rows.contains(&0)).then_some(rows))
}
