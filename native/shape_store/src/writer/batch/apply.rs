//! The changes of a batch, applied to SQLite within its transaction.

use std::collections::{HashSet, VecDeque};

use rusqlite::{Connection, Transaction, params};

use crate::{
    cache::body::{Body, Dictionary},
    entry::{Entry, Handle, RowId, Snapshot},
    error_text::worded,
    file::{
        Label,
        fault::{Fault, is_refusal},
        insert::{self, Insert, NewShape},
        row::pack_rows,
        schema::{self, Position},
    },
    index::{Index, slab::EntryId},
    queue::{Change, Operation, Queued},
};

/// What a committed batch leaves to be done.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) position: Option<Position>,
    /// The operations that SQLite refused for themselves.
    pub(crate) refused: Vec<Refused>,
    /// Rows whose adds were skipped, their shapes having gone before.
    pub(crate) skipped: Vec<RowId>,
    /// Rows among the skipped whose removals have now passed too.
    pub(crate) passed: Vec<RowId>,
    /// The operations whose callers wanted to be told.
    pub(crate) log: Vec<(Operation, Handle)>,
}

/// An operation that was set aside.
pub(crate) struct Refused {
    /// Its place in the batch.
    pub(crate) offset: usize,
    pub(crate) operation: Operation,
    pub(crate) handle: Handle,
    pub(crate) reason: String,
}

/// What the writing of a batch is based on.
#[derive(Clone, Copy)]
pub(crate) struct Batch<'a> {
    pub(crate) index: &'a Index,
    pub(crate) dictionary: &'a Dictionary,
    /// What the file has to say of itself.
    pub(crate) label: Label,
    pub(crate) skipped: &'a HashSet<RowId>,
}

/// How the shapes of a batch are added.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Adds {
    /// All of them before anything else is done: what is done to a shape comes after its add,
    /// and concerns no other.
    Together,
    Apart,
}

/// Repeats the changes, and notes the batch.
pub(super) fn apply<'q>(
    batch: Batch<'_>,
    adds: Adds,
    tx: &Transaction<'_>,
    changes: impl Iterator<Item = &'q Queued> + Clone,
) -> Result<Written, Fault> {
    let mut run = Run {
        tx,
        adds,
        batch,
        written: Written::default(),
        changed: Vec::new(),
        added: VecDeque::new(),
    };
    if adds == Adds::Together {
        run.add_all(changes.clone())?;
    }
    for (offset, queued) in changes.enumerate() {
        run.apply(offset, queued)?;
    }
    let position = write_position(tx, run.batch.label.position, &run.changed)?;
    run.written.position = Some(position);
    Ok(run.written)
}

/// Notes the batch where standbys look for it. `next_row` was set by the adds.
fn write_position(
    tx: &Connection,
    position: Position,
    changed: &[RowId],
) -> rusqlite::Result<Position> {
    let position = Position { batch: position.batch + 1, ..position };
    tx.prepare_cached(schema::INSERT_CHANGES)?.execute(params![
        position.batch as i64,
        position.next_row as i64,
        pack_rows(changed),
    ])?;
    let old = position.batch.saturating_sub(schema::CHANGES_KEPT);
    tx.prepare_cached(schema::PRUNE_CHANGES)?.execute(params![old as i64])?;
    Ok(position)
}

struct Run<'a> {
    tx: &'a Transaction<'a>,
    adds: Adds,
    batch: Batch<'a>,
    written: Written,
    /// Rows that a standby has to look at again.
    changed: Vec<RowId>,
    /// Shapes that were added together, whose callers want to be told, by their places in
    /// the batch.
    added: VecDeque<(usize, Handle)>,
}

impl Run<'_> {
    fn apply(&mut self, offset: usize, queued: &Queued) -> Result<(), Fault> {
        let done = match &queued.change {
            Change::Add { .. } if self.adds == Adds::Together => {
                let logged = self.added.front().is_some_and(|(at, _)| *at == offset);
                if logged && let Some((_, handle)) = self.added.pop_front() {
                    self.written.log.push((Operation::Add, handle));
                }
                Ok(())
            }
            Change::Add { row, id, flags, body } => self.add(*row, *id, *flags, body, queued.log),
            Change::Remove { row, handle } => self.remove(*row, handle, queued.log),
            Change::Snapshot { row, id, snapshot } => self.mark(*row, *id, *snapshot, queued.log),
            Change::Flags(rows) => rows.iter().try_for_each(|(row, flags)| self.flag(*row, *flags)),
            Change::FlagsVersion(version) => {
                schema::write_meta(self.tx, schema::FLAGS_VERSION, &**version)
            }
            Change::Reset { below } => self.reset(*below),
            Change::Unknown { .. } => Ok(()),
        };
        match done {
            // A refusal that ended the transaction took the changes before it along.
            Err(error) if is_refusal(&error) && !self.tx.is_autocommit() => {
                self.written.refused.push(Refused {
                    offset,
                    operation: queued.change.operation(),
                    handle: queued.change.handle(self.batch.index),
                    reason: worded(&error).to_string(),
                });
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// The shape that a change adds, if it is still there.
    fn new_shape(&mut self, row: RowId, id: EntryId, flags: u8, body: &Body) -> Option<NewShape> {
        let position = &mut self.batch.label.position;
        position.next_row = position.next_row.max(row + 1);
        let entry = self.batch.index.get(id).filter(|entry| entry.row == row);
        let Some(entry) = entry else {
            // Removed since: its removal is further down the queue.
            self.written.skipped.push(row);
            return None;
        };
        // The row is the shape as it was added. What was marked since comes with
        // its own operation, so the file is never ahead of the durable number.
        Some(NewShape { entry: Entry { flags, ..entry }, body: self.batch.dictionary.bytes(body) })
    }

    fn add_all<'q>(&mut self, changes: impl Iterator<Item = &'q Queued>) -> rusqlite::Result<()> {
        let mut shapes = Vec::new();
        for (offset, queued) in changes.enumerate() {
            let Change::Add { row, id, flags, body } = &queued.change else { continue };
            let Some(shape) = self.new_shape(*row, *id, *flags, body) else { continue };
            if queued.log {
                self.added.push_back((offset, shape.entry.handle.clone()));
            }
            shapes.push(shape);
        }
        match shapes.is_empty() {
            true => Ok(()),
            false => insert::insert(self.tx, shapes),
        }
    }

    fn add(
        &mut self,
        row: RowId,
        id: EntryId,
        flags: u8,
        body: &Body,
        log: bool,
    ) -> rusqlite::Result<()> {
        let Some(NewShape { entry, body }) = self.new_shape(row, id, flags, body) else {
            return Ok(());
        };
        let mut insert = Insert::new(self.tx)?;
        insert.shape(&entry, Snapshot::None)?;
        if let Err(error) = insert.body(&entry, &body) {
            self.tx.prepare_cached(schema::DELETE_SHAPE)?.execute([row as i64])?;
            return Err(error);
        }
        self.log(log, Operation::Add, &entry.handle);
        Ok(())
    }

    fn remove(&mut self, row: RowId, handle: &[u8], log: bool) -> rusqlite::Result<()> {
        if self.batch.skipped.contains(&row) || self.written.skipped.contains(&row) {
            self.written.passed.push(row);
        } else {
            self.tx.prepare_cached(schema::DELETE_SHAPE)?.execute([row as i64])?;
            self.tx.prepare_cached(schema::DELETE_BODY)?.execute([row as i64])?;
            self.changed.push(row);
        }
        self.log(log, Operation::Remove, handle);
        Ok(())
    }

    fn mark(
        &mut self,
        row: RowId,
        id: EntryId,
        snapshot: Snapshot,
        log: bool,
    ) -> rusqlite::Result<()> {
        // No matter whether the shape is still there: its row is, or was skipped.
        self.tx.prepare_cached(schema::MARK_SHAPE)?.execute(params![row as i64, snapshot as u8])?;
        self.changed.push(row);
        if log && let Some(entry) = self.batch.index.get(id).filter(|entry| entry.row == row) {
            self.log(log, snapshot.into(), &entry.handle);
        }
        Ok(())
    }

    fn flag(&mut self, row: RowId, flags: u8) -> rusqlite::Result<()> {
        self.tx.prepare_cached(schema::FLAG_SHAPE)?.execute(params![row as i64, flags])?;
        self.changed.push(row);
        Ok(())
    }

    fn reset(&mut self, below: RowId) -> rusqlite::Result<()> {
        self.tx.prepare_cached(schema::DELETE_SHAPES_BELOW)?.execute([below as i64])?;
        self.tx.prepare_cached(schema::DELETE_BODIES_BELOW)?.execute([below as i64])?;
        let skipped = self.batch.skipped.iter().chain(&self.written.skipped);
        let passed: Vec<_> = skipped.filter(|row| **row < below).copied().collect();
        self.written.passed.extend(passed);
        // A zero has standbys read everything again.
        self.changed.push(0);
        Ok(())
    }

    fn log(&mut self, log: bool, operation: Operation, handle: &[u8]) {
        if log {
            self.written.log.push((operation, Handle::from_slice(handle)));
        }
    }
}
