//! A workload of numbered batches, and a check that tells how many of them a file holds.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use fault_vfs::FaultVfs;
use rusqlite::{Connection, OpenFlags, Result, TransactionBehavior};
use std::{path::Path, time::Duration};

/// Rows in a batch.
pub const ROWS: i64 = 5;

/// How a connection is opened.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    pub journal: &'static str,
    pub synchronous: &'static str,
}

pub const WAL: Mode = Mode { journal: "wal", synchronous: "full" };
pub const DELETE: Mode = Mode { journal: "delete", synchronous: "full" };

/// Opens a file through the VFS, small enough in everything to checkpoint and to spill.
pub fn open(vfs: &FaultVfs, path: &Path, mode: Mode) -> Result<Connection> {
    let db = Connection::open_with_flags_and_vfs(path, OpenFlags::default(), vfs.name())?;
    db.busy_timeout(Duration::ZERO)?;
    db.pragma_update(None, "journal_mode", mode.journal)?;
    db.pragma_update(None, "synchronous", mode.synchronous)?;
    db.pragma_update(None, "wal_autocheckpoint", 12)?;
    db.execute_batch(
        "begin immediate;
         create table if not exists rows(id integer primary key, batch integer, body blob) strict;
         create table if not exists last(one integer primary key, batch integer) strict;
         insert or ignore into last values (1, 0);
         commit;",
    )?;
    Ok(db)
}

/// The last batch committed.
pub fn last(db: &Connection) -> Result<i64> {
    db.query_row("select batch from last", (), |row| row.get(0))
}

/// Commits one batch: new rows, a change to an old one, and the batch's number.
pub fn commit(db: &mut Connection, batch: i64) -> Result<()> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for row in 0..ROWS {
        let id = batch * ROWS + row;
        tx.execute("insert into rows values (?, ?, ?)", (id, batch, body(id, batch)))?;
    }
    // Row 0 of batch n is rewritten in batch n + 1, so that old pages change.
    let old = (batch - 1) * ROWS;
    tx.execute(
        "update rows set batch = ?1, body = ?2 where id = ?3",
        (batch, body(old, batch), old),
    )?;
    tx.execute("update last set batch = ?", [batch])?;
    tx.commit()
}

fn body(id: i64, batch: i64) -> Vec<u8> {
    (0..700 + id % 13).map(|i| (i * 31 + id * 7 + batch * 11) as u8).collect()
}

/// How many batches a file holds, read with the normal VFS; `None` before the tables exist.
/// What is not exactly the first so many batches is an error.
pub fn check(path: &Path) -> std::result::Result<Option<i64>, String> {
    let text = |error: rusqlite::Error| error.to_string();
    let db = Connection::open(path).map_err(text)?;
    db.pragma_update(None, "synchronous", "off").map_err(text)?;
    let sound: String = db.query_row("pragma quick_check", (), |row| row.get(0)).map_err(text)?;
    if sound != "ok" {
        return Err(sound);
    }
    let tables: i64 = db
        .query_row("select count(*) from sqlite_schema where name = 'last'", (), |row| row.get(0))
        .map_err(text)?;
    if tables == 0 {
        return Ok(None);
    }
    let last = last(&db).map_err(text)?;
    let mut rows = db.prepare("select id, batch, body from rows order by id").map_err(text)?;
    let rows = rows
        .query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .and_then(Iterator::collect::<Result<Vec<(i64, i64, Vec<u8>)>>>)
        .map_err(text)?;
    let expected = (ROWS..(last + 1) * ROWS).map(|id| {
        let own = id / ROWS;
        let batch = if id % ROWS == 0 && own < last { own + 1 } else { own };
        (id, batch, body(id, batch))
    });
    if rows.iter().cloned().eq(expected) {
        Ok(Some(last))
    } else {
        Err(format!("{} rows are not the first {last} batches", rows.len()))
    }
}
