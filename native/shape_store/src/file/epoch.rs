//! What a writer notes in the file of itself: that it has taken it over, that it is using
//! it, and that it has left it in order; and whether the file is still its own.

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::{
    file::{Label, connection, fault::Fault, schema},
    options::{Options, Synchronous},
};

impl Label {
    /// Whether a file that says `there` of itself is still this writer's to write.
    pub(crate) fn check_writer(&self, there: &Self) -> Result<(), Fault> {
        if there.identity != self.identity {
            return Err(Fault::NotOurs("it is another database".into()));
        }
        if there.epoch > self.epoch {
            return Err(Fault::Fenced);
        }
        match there.epoch == self.epoch {
            true => Ok(()),
            false => Err(Fault::NotOurs("it is an older copy".into())),
        }
    }
}

/// Makes a file this store's to write, in one transaction: under the next epoch, which is
/// beyond those that other writers are known to have had, and with row
/// ids that the writer before cannot have given. What it gave and did not commit is no more
/// than it may have had queued, and nothing when it closed the file.
pub(crate) fn take_over_file(
    conn: &Connection,
    options: &Options,
    beyond: i64,
) -> rusqlite::Result<Label> {
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    let mut label = Label::read(&tx)?;
    label.epoch = label.epoch.max(beyond) + 1;
    if schema::read_meta_number(&tx, "clean")? != 1 {
        let unsettled = schema::read_meta_number(&tx, "unsettled")?;
        label.position.next_row += unsettled.max(0).unsigned_abs();
    }
    schema::write_meta(&tx, "epoch", label.epoch)?;
    schema::write_meta(&tx, "clean", 0)?;
    schema::write_meta(&tx, "unsettled", options.max_pending.ops as i64)?;
    schema::write_meta(&tx, "stack", &options.stack)?;
    tx.execute(schema::SKIP_ROWS, params![label.position.next_row as i64])?;
    tx.commit()?;
    Ok(label)
}

/// Before anything is written without a sync, the disk has to know that the file is in use: a
/// loss of power could leave a damaged file that says that it needs no check. A write-ahead
/// log is left alone until the first batch, so that a start need not wait for the disk.
pub(crate) fn note_in_use(conn: &Connection, options: &Options) -> rusqlite::Result<()> {
    let level = |level| connection::synchronous(options, level);
    conn.pragma_update(None, "synchronous", level(Synchronous::Full))?;
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    schema::write_meta(&tx, "clean", 0)?;
    tx.commit()?;
    connection::checkpoint(conn, options)?;
    conn.pragma_update(None, "synchronous", level(options.synchronous))
}

/// Notes that the file needs no check, once it is on the disk: what earlier checkpoints
/// wrote may not be, with `synchronous=OFF`. A checkpoint syncs the file only when it has
/// something to write, hence the note before it, and what else there is to write after that.
/// Where checkpoints are another's, the note is in the synced log, and the file is as that
/// one left it, which has to sync it.
pub(crate) fn note_clean(
    conn: &Connection,
    epoch: i64,
    options: &Options,
    before: impl FnOnce(),
) -> Result<(), Fault> {
    let mut before = Some(before);
    let full = connection::synchronous(options, Synchronous::Full);
    conn.pragma_update(None, "synchronous", full)?;
    for clean in [0, 1] {
        write_clean(conn, epoch, clean)?;
        connection::checkpoint(conn, options)?;
        before.take().into_iter().for_each(|before| before());
    }
    Ok(())
}

/// The same for a file that nothing was written to but its log: it is on the disk as it was
/// found, which was in order, and the log is whole or counts for nothing. So none of this has
/// to be synced.
pub(crate) fn note_clean_in_log(
    conn: &Connection,
    epoch: i64,
    before: impl FnOnce(),
) -> Result<(), Fault> {
    before();
    write_clean(conn, epoch, 1)
}

fn write_clean(conn: &Connection, epoch: i64, clean: i64) -> Result<(), Fault> {
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    if Label::read(&tx)?.epoch != epoch {
        return Err(Fault::Fenced);
    }
    schema::write_meta(&tx, "clean", clean)?;
    Ok(tx.commit()?)
}
