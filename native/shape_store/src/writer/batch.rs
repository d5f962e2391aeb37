//! One batch: the changes at the head of the queue, in one transaction. One that fails is
//! tried again by `commit.rs`.

use rusqlite::{Connection, Transaction, TransactionBehavior};

mod apply;

use self::apply::{Adds, apply};
pub(crate) use self::apply::{Batch, Refused, Written};
use crate::{
    file::{
        Label,
        fault::{Fault, Passing, is_refusal},
        schema,
    },
    queue::Queued,
};

/// The most operations in a transaction.
pub(crate) const MAX_OPS: usize = 4096;

/// The most bytes of bodies in a transaction, give or take one.
pub(crate) const MAX_BYTES: usize = 8 << 20;

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
        let mut written = apply(self, adds, &tx, changes)?;
        match tx.commit() {
            Ok(()) => {
                *unsure = None;
                Ok(written)
            }
            Err(error) => {
                // Either of two such tries may have been committed: only rows that both
                // left out are sure not to be there.
                if let Some(earlier) = unsure {
                    written.skipped.retain(|row| earlier.skipped.contains(row));
                }
                *unsure = Some(written);
                Err(error.into())
            }
        }
    }
}
