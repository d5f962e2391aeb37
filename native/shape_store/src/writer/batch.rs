//! One batch: the changes at the head of the queue, in one transaction. One that fails is
//! tried again by `commit.rs`.

use std::collections::{HashSet, VecDeque};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::{
    cache::body::{Body, Dictionary},
    entry::{Entry, Handle, RowId, Snapshot},
    file::{
        Label,
        fault::{Fault, Passing, is_refusal},
        insert::{self, NewShape},
        schema::{self, Insert, Position},
    },
    index::{Index, slab::EntryId},
    queue::{Change, Operation, Queued},
    wording::worded,
};

/// The most operations in a transaction.
pub(crate) const MAX_OPS: usize = 4096;

/// The most bytes of bodies in a transaction, give or take one.
pub(crate) const MAX_BYTES: usize = 8 << 20;

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

impl Batch<'_> {
    /// Repeats the changes on SQLite, all or none. `unsure` is what an earlier try
    /// at the same changes wrote before its commit failed: a commit that fails may
    /// have succeeded, and then that is what comes back.
    pub(crate) fn write<'q>(
        self,
        conn: &Connection,
        changes: impl Iterator<Item = &'q Queued> + Clone,
        unsure: &mut Option<Written>,
    ) -> Result<Written, Fault> {
        match self.write_adds(Adds::Together, conn, changes.clone(), unsure) {
            // It is rolled back. Shape by shape shows which it is that SQLite refuses.
            Err(Fault::Transient(Passing::Sqlite(error))) if is_refusal(&error) => {
                self.write_adds(Adds::Apart, conn, changes, unsure)
            }
            written => written,
        }
    }

    fn write_adds<'q>(
        self,
        adds: Adds,
        conn: &Connection,
        changes: impl Iterator<Item = &'q Queued> + Clone,
        unsure: &mut Option<Written>,
    ) -> Result<Written, Fault> {
        let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
        // In the same transaction as the rows: who took the writing over did so
        // before this one began, and shows, or will wait until it has ended.
        let there = Label::read(&tx)?;
        // Kept until a try succeeds: it may turn up later than the next try.
        let done = |written: &mut Written| written.position == Some(there.position);
        self.label.check_writer(&there)?;
        if let Some(written) = unsure.take_if(done) {
            // Its commit may have failed when it was to be synced: another one syncs both.
            let synced = schema::touch(&tx).and_then(|()| tx.commit());
            return match synced {
                Ok(()) => Ok(written),
                Err(error) => {
                    *unsure = Some(written);
                    Err(error.into())
                }
            };
        }
        self.label.check_position(&there)?;
        let mut written = self.repeat(adds, &tx, changes)?;
        match tx.commit() {
            Ok(()) => {
                *unsure = None;
                Ok(written)
            }
            Err(error) => {
                // Of two such tries it may be the earlier that was done: only what
                // both left out is sure not to be there.
                if let Some(earlier) = unsure {
                    written.skipped.retain(|row| earlier.skipped.contains(row));
                }
                *unsure = Some(written);
                Err(error.into())
            }
        }
    }

    fn repeat<'q>(
        self,
        adds: Adds,
        tx: &Transaction<'_>,
        changes: impl Iterator<Item = &'q Queued> + Clone,
    ) -> Result<Written, Fault> {
        let mut run = Run {
            tx,
            adds,
            batch: self,
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
        schema::pack_rows(changed),
    ])?;
    let old = position.batch.saturating_sub(schema::CHANGES_KEPT);
    tx.prepare_cached(schema::PRUNE_CHANGES)?.execute(params![old as i64])?;
    Ok(position)
}

/// How the shapes of a batch are added.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Adds {
    /// All of them before anything else is done: what is done to a shape comes after its add,
    /// and concerns no other.
    Together,
    Apart,
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
