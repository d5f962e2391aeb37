//! One batch: the changes at the head of the queue, in one transaction.

use std::collections::HashSet;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::{
    body::{Body, Dictionary},
    entry::{Entry, Handle, RowId, Snapshot},
    fault::{Fault, is_refusal},
    file::Label,
    index::Index,
    insert::{AT_ONCE, Added, InsertMany},
    queue::{Change, Operation, Queued},
    schema::{self, Insert, Position},
    slab::EntryId,
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
    /// The operations whose callers wanted to be told, with their places in the batch.
    pub(crate) log: Vec<(usize, Operation, Handle)>,
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
        changes: impl Iterator<Item = &'q Queued>,
        unsure: &mut Option<Written>,
    ) -> Result<Written, Fault> {
        let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
        // In the same transaction as the rows: who took the writing over did so
        // before this one began, and shows, or will wait until it has ended.
        let there = schema::read_label(&tx)?;
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
        let mut written = self.repeat(&tx, changes)?;
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
        tx: &Transaction<'_>,
        changes: impl Iterator<Item = &'q Queued>,
    ) -> Result<Written, Fault> {
        let mut run = Run {
            tx,
            insert: Insert::new(tx)?,
            many: None,
            batch: self,
            written: Written::default(),
            changed: Vec::new(),
            buffer: Vec::new(),
            added: Vec::with_capacity(AT_ONCE),
            later: Vec::new(),
        };
        for (offset, queued) in changes.enumerate() {
            run.take(offset, queued)?;
        }
        run.insert_added()?;
        run.written.log.sort_by_key(|(offset, ..)| *offset);
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

struct Run<'a, 'q> {
    tx: &'a Transaction<'a>,
    insert: Insert<'a>,
    many: Option<InsertMany<'a>>,
    batch: Batch<'a>,
    written: Written,
    /// Rows that a standby has to look at again.
    changed: Vec<RowId>,
    /// Memory that each body uses again.
    buffer: Vec<u8>,
    /// Adds that are to be inserted together, and what came after the first of them: nobody
    /// sees in which order the changes of a transaction are made, if those of each row are
    /// made in theirs.
    added: Vec<Added<'q>>,
    later: Vec<(usize, &'q Queued)>,
}

impl<'q> Run<'_, 'q> {
    fn take(&mut self, offset: usize, queued: &'q Queued) -> Result<(), Fault> {
        match &queued.change {
            Change::Add { row, id, flags, body } => {
                self.add(offset, *row, *id, *flags, body, queued.log);
                if self.added.len() == AT_ONCE {
                    self.insert_added()?;
                }
                Ok(())
            }
            Change::Reset { .. } => {
                self.insert_added()?;
                self.apply(offset, queued)
            }
            _ if self.added.is_empty() => self.apply(offset, queued),
            _ => {
                self.later.push((offset, queued));
                Ok(())
            }
        }
    }

    fn apply(&mut self, offset: usize, queued: &Queued) -> Result<(), Fault> {
        let done = match &queued.change {
            // Gathered, and inserted by now.
            Change::Add { .. } => Ok(()),
            Change::Remove { row, handle } => self.remove(*row).map(|()| {
                self.log(queued.log, offset, Operation::Remove, handle);
            }),
            Change::Snapshot { row, id, snapshot } => {
                self.mark(*row, *snapshot).map(|()| self.log_mark(offset, queued, *row, *id))
            }
            Change::Flags(rows) => rows.iter().try_for_each(|(row, flags)| self.flag(*row, *flags)),
            Change::FlagsVersion(version) => {
                schema::write_meta(self.tx, schema::FLAGS_VERSION, &**version)
            }
            Change::Reset { below } => self.reset(*below),
            Change::Unknown { .. } => Ok(()),
        };
        match done {
            Err(error) if self.may_go_on(&error) => {
                let handle = queued.change.handle(self.batch.index);
                self.refuse(offset, queued.change.operation(), handle, &error);
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// Whether an error is of one operation alone. A refusal that ended the transaction took
    /// the changes before it along.
    fn may_go_on(&self, error: &rusqlite::Error) -> bool {
        is_refusal(error) && !self.tx.is_autocommit()
    }

    fn refuse(
        &mut self,
        offset: usize,
        operation: Operation,
        handle: Handle,
        error: &rusqlite::Error,
    ) {
        let reason = worded(error).to_string();
        self.written.refused.push(Refused { offset, operation, handle, reason });
    }

    fn add(
        &mut self,
        offset: usize,
        row: RowId,
        id: EntryId,
        flags: u8,
        body: &'q Body,
        log: bool,
    ) {
        let position = &mut self.batch.label.position;
        position.next_row = position.next_row.max(row + 1);
        let entry = self.batch.index.get(id).filter(|entry| entry.row == row);
        match entry {
            // Removed since: its removal is further down the queue.
            None => self.written.skipped.push(row),
            // The row is the shape as it was added. What was marked since comes with
            // its own operation, so the file is never ahead of the durable number.
            Some(entry) => {
                let entry = Entry { flags, ..entry };
                self.added.push(Added { offset, entry, body, log });
            }
        }
    }

    /// Inserts what was gathered, and makes the changes that came meanwhile.
    fn insert_added(&mut self) -> Result<(), Fault> {
        let mut added = std::mem::take(&mut self.added);
        let at_once = added.len() == AT_ONCE && self.insert_all(&added)?;
        for one in added.drain(..) {
            if !at_once && let Err(error) = self.insert_one(&one) {
                if !self.may_go_on(&error) {
                    return Err(error.into());
                }
                self.refuse(one.offset, Operation::Add, one.entry.handle, &error);
                continue;
            }
            self.log(one.log, one.offset, Operation::Add, &one.entry.handle);
        }
        self.added = added;
        for (offset, queued) in std::mem::take(&mut self.later) {
            self.apply(offset, queued)?;
        }
        Ok(())
    }

    /// Inserts all by one statement; false when one of them was refused, so that they have
    /// to be tried one by one.
    fn insert_all(&mut self, added: &[Added<'_>]) -> Result<bool, Fault> {
        let tx = self.tx;
        let many = match &mut self.many {
            Some(many) => many,
            none => none.insert(InsertMany::new(tx)?),
        };
        match many.all(tx, added, self.batch.dictionary, &mut self.buffer) {
            Ok(()) => Ok(true),
            Err(error) if self.may_go_on(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn insert_one(&mut self, added: &Added<'_>) -> rusqlite::Result<()> {
        let entry = &added.entry;
        self.insert.shape(entry, Snapshot::None)?;
        let body = self.batch.dictionary.unpack(added.body, &mut self.buffer);
        if let Err(error) = self.insert.body(entry, body) {
            self.tx.prepare_cached(schema::DELETE_SHAPE)?.execute([entry.row as i64])?;
            return Err(error);
        }
        Ok(())
    }

    fn remove(&mut self, row: RowId) -> rusqlite::Result<()> {
        if self.batch.skipped.contains(&row) || self.written.skipped.contains(&row) {
            self.written.passed.push(row);
        } else {
            self.tx.prepare_cached(schema::DELETE_SHAPE)?.execute([row as i64])?;
            self.tx.prepare_cached(schema::DELETE_BODY)?.execute([row as i64])?;
            self.changed.push(row);
        }
        Ok(())
    }

    fn mark(&mut self, row: RowId, snapshot: Snapshot) -> rusqlite::Result<()> {
        // No matter whether the shape is still there: its row is, or was skipped.
        self.tx.prepare_cached(schema::MARK_SHAPE)?.execute(params![row as i64, snapshot as u8])?;
        self.changed.push(row);
        Ok(())
    }

    fn log_mark(&mut self, offset: usize, queued: &Queued, row: RowId, id: EntryId) {
        if queued.log
            && let Some(entry) = self.batch.index.get(id).filter(|entry| entry.row == row)
        {
            self.log(true, offset, queued.change.operation(), &entry.handle);
        }
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

    fn log(&mut self, log: bool, offset: usize, operation: Operation, handle: &[u8]) {
        if log {
            self.written.log.push((offset, operation, Handle::from_slice(handle)));
        }
    }
}
