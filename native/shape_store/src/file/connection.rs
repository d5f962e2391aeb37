//! How a connection is opened. None but [`create_beside`] makes a file.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use crate::{
    file::{insert, schema},
    options::{Location, Options, Synchronous},
};

/// How long a statement waits for a lock that another process holds.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);

/// The same where another process makes the checkpoints: while it restarts the log it keeps
/// writers out, syncs the file and waits for readers.
const CHECKPOINTED_TIMEOUT: Duration = Duration::from_secs(5);

/// SQLite's own page cache, in KiB. Small: lookups are answered by the index,
/// warm bodies by their cache, and what is left reads each page once.
const WRITER_PAGES_KIB: i64 = 2048;
const READER_PAGES_KIB: i64 = 256;

/// Log pages between checkpoints: 16 MiB.
const CHECKPOINT_PAGES: i64 = 1000;

/// Where a store in memory is.
pub(crate) const MEMORY: &str = ":memory:";

const READ_WRITE: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);
const READ_ONLY: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// Sets a connection up for writing a database that may be new.
pub(crate) fn prepare_new(conn: &Connection, options: &Options) -> rusqlite::Result<()> {
    conn.pragma_update(None, "page_size", schema::PAGE_SIZE)?;
    prepare_to_write(conn, options)
}

/// Makes a database that stands beside ours until it is done, and that leaves no other
/// file behind: what goes wrong with it is removed with it. A commit is synced.
pub(crate) fn create_beside(path: &Path, options: &Options) -> rusqlite::Result<Connection> {
    let conn = open(path, options, READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    conn.pragma_update(None, "page_size", schema::PAGE_SIZE)?;
    conn.pragma_update(None, "journal_mode", "OFF")?;
    conn.pragma_update(None, "synchronous", synchronous(options, Synchronous::Full))?;
    conn.pragma_update(None, "cache_size", -WRITER_PAGES_KIB)?;
    Ok(conn)
}

/// Closes a database that was made beside ours, with a write-ahead log from its next opening
/// on.
pub(crate) fn end_with_log(conn: Connection, options: &Options) -> rusqlite::Result<()> {
    set_journal(&conn, "WAL", options)?;
    keep_log_on_close(&conn, false)?;
    conn.close().map_err(|(_, error)| error)
}

/// Opens a file for writing, and changes nothing in it.
pub(crate) fn open_to_write(path: &Path, options: &Options) -> rusqlite::Result<Connection> {
    open(path, options, READ_WRITE)
}

/// Sets a connection up for writing. The file has to be ours: it may be changed.
pub(crate) fn prepare_to_write(conn: &Connection, options: &Options) -> rusqlite::Result<()> {
    let journal = if options.exclusive { "DELETE" } else { "WAL" };
    set_journal(conn, journal, options)?;
    conn.pragma_update(None, "synchronous", synchronous(options, options.synchronous))?;
    conn.pragma_update(None, "cache_size", -WRITER_PAGES_KIB)?;
    let pages = if options.external_checkpoint { 0 } else { CHECKPOINT_PAGES };
    conn.pragma_update(None, "wal_autocheckpoint", pages)
}

/// Puts what is in the log into the file, as far as nobody reads what is there, unless that
/// is left to another process. It syncs both, at the level of the connection.
pub(crate) fn checkpoint(conn: &Connection, options: &Options) -> rusqlite::Result<()> {
    match options.external_checkpoint {
        true => Ok(()),
        false => conn.query_row("PRAGMA main.wal_checkpoint", [], |_| Ok(())),
    }
}

/// Has a file journalled in this way. The change is made by the step after the one that
/// tells the mode, so the statement has to be run to its end.
fn set_journal(conn: &Connection, journal: &str, options: &Options) -> rusqlite::Result<()> {
    let mut statement = conn.prepare(&format!("PRAGMA main.journal_mode = {journal}"))?;
    let mut rows = statement.query([])?;
    let mut told = String::new();
    while let Some(row) = rows.next()? {
        told = row.get(0)?;
    }
    if told.eq_ignore_ascii_case(journal) || options.location == Location::Memory {
        return Ok(());
    }
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
    let text = format!("the file cannot have the journal mode {journal}, but {told}");
    Err(rusqlite::Error::SqliteFailure(code, Some(text)))
}

/// Opens a file for reading.
pub(crate) fn open_to_read(path: &Path, options: &Options) -> rusqlite::Result<Connection> {
    let conn = open(path, options, READ_ONLY)?;
    conn.pragma_update(None, "cache_size", -READER_PAGES_KIB)?;
    Ok(conn)
}

/// Runs `work` on a connection whose statements do not wait for a lock meanwhile.
pub(crate) fn without_waiting<T>(
    conn: &Connection,
    options: &Options,
    work: impl FnOnce() -> T,
) -> rusqlite::Result<T> {
    conn.busy_timeout(Duration::ZERO)?;
    let result = work();
    conn.busy_timeout(busy_timeout(options))?;
    Ok(result)
}

fn busy_timeout(options: &Options) -> Duration {
    if options.external_checkpoint { CHECKPOINTED_TIMEOUT } else { BUSY_TIMEOUT }
}

/// With a rollback journal the commit is the journal's deletion, and only EXTRA
/// makes sure of that: <https://sqlite.org/pragma.html#pragma_synchronous>.
pub(crate) fn synchronous(options: &Options, level: Synchronous) -> &'static str {
    match level {
        Synchronous::Off => "OFF",
        Synchronous::Normal => "NORMAL",
        Synchronous::Full if options.exclusive => "EXTRA",
        Synchronous::Full => "FULL",
    }
}

/// Whether the log stays when the connection closes. That of a follower does: its file
/// may have been renamed, and the log that has the name by then belongs to another.
pub(crate) fn keep_log_on_close(conn: &Connection, keep: bool) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(drop)
}

fn open(path: &Path, options: &Options, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let conn = match &options.vfs {
        Some(vfs) if options.location != Location::Memory => {
            Connection::open_with_flags_and_vfs(path, flags, vfs.as_str())?
        }
        _ => Connection::open_with_flags(path, flags)?,
    };
    conn.busy_timeout(busy_timeout(options))?;
    if options.external_checkpoint {
        // From the first statement to the last, whatever the connection is for.
        conn.pragma_update(None, "wal_autocheckpoint", 0)?;
        keep_log_on_close(&conn, true)?;
    }
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    insert::prepare(&conn)?;
    conn.set_prepared_statement_cache_capacity(2 * schema::STATEMENTS.len());
    Ok(conn)
}
