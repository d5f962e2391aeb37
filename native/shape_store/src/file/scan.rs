//! Reading every row of a file in pieces, by two connections at once where that is
//! worth it.

use std::{
    panic::resume_unwind,
    thread::{self, ScopedJoinHandle},
};

use crossbeam_channel::Sender;
use rusqlite::{Connection, params};

use crate::{
    entry::{Entry, RowId},
    file::schema::{self, Position},
};

/// To read so few takes less than to start a thread beside.
const FEW: RowId = 256;

/// How many entries are a piece.
pub(crate) const PIECE: usize = 256;

/// With fewer rows the first connection would be done by the time that a second one
/// is open.
const WORTH_A_SECOND: RowId = 8192;

/// The first row id, and how many there may be.
fn span(conn: &Connection) -> rusqlite::Result<(RowId, RowId)> {
    let row = |sql| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs);
    let (first, last) = (row(schema::FIRST_SHAPE)?, row(schema::LAST_SHAPE)?);
    Ok((first, (last + 1).saturating_sub(first)))
}

/// Whether there are so few rows that one thread is enough.
pub(crate) fn are_few(conn: &Connection) -> rusqlite::Result<bool> {
    span(conn).map(|(_, rows)| rows <= FEW)
}

/// Sends every row, for as long as somebody takes the pieces. Those of each
/// connection come in their order. `position` is what `conn` sees, in a transaction;
/// `second` opens another connection, if there may be one.
pub(crate) fn read_all(
    conn: &Connection,
    position: Position,
    second: impl Fn() -> Option<Connection> + Sync,
    pieces: &Sender<Vec<Entry>>,
) -> rusqlite::Result<()> {
    let (first, rows) = span(conn)?;
    if rows < WORTH_A_SECOND {
        return read(conn, 1..RowId::MAX, pieces);
    }
    let middle = first + rows / 2;
    thread::scope(|scope| {
        let help = || help(&second()?, position, middle, pieces).transpose();
        // Without a thread to be had there is no help.
        let helping = thread::Builder::new().spawn_scoped(scope, help).ok();
        read(conn, 1..middle, pieces)?;
        let join = |helping: ScopedJoinHandle<'_, _>| {
            helping.join().unwrap_or_else(|panic| resume_unwind(panic))
        };
        match helping.and_then(join) {
            Some(read) => read,
            None => read(conn, middle..RowId::MAX, pieces),
        }
    })
}

/// Reads the rows from `middle` on, if this connection sees the same as the first
/// one: every batch makes another position.
fn help(
    conn: &Connection,
    position: Position,
    middle: RowId,
    pieces: &Sender<Vec<Entry>>,
) -> rusqlite::Result<Option<()>> {
    let Ok(tx) = conn.unchecked_transaction() else { return Ok(None) };
    if !schema::read_position(&tx).is_ok_and(|seen| seen == position) {
        return Ok(None);
    }
    // From here on an error is one of reading: some of the rows are sent.
    read(&tx, middle..RowId::MAX, pieces)?;
    tx.finish()?;
    Ok(Some(()))
}

fn read(
    conn: &Connection,
    ids: std::ops::Range<RowId>,
    pieces: &Sender<Vec<Entry>>,
) -> rusqlite::Result<()> {
    let mut statement = conn.prepare_cached(schema::READ_SHAPES_FROM)?;
    let mut rows = statement.query(params![ids.start as i64])?;
    let mut piece = Vec::with_capacity(PIECE);
    while let Some(row) = rows.next()? {
        let entry = schema::read_entry(row)?;
        if entry.row >= ids.end {
            break;
        }
        piece.push(entry);
        if piece.len() == PIECE {
            let full = std::mem::replace(&mut piece, Vec::with_capacity(PIECE));
            if pieces.send(full).is_err() {
                return Ok(());
            }
        }
    }
    // Nobody takes it when there is no room for more.
    let _ = pieces.send(piece);
    Ok(())
}

#[cfg(all(test, not(miri), not(loom)))]
mod tests {
    use rusqlite::Transaction;

    use super::*;
    use crate::entry::{Digest, Handle, Oids, Snapshot};

    const ROWS: RowId = 3 * WORTH_A_SECOND;

    /// A file with every third row gone, and the first thousand.
    fn make(conn: &mut Connection) -> rusqlite::Result<Position> {
        let tx: Transaction<'_> = conn.transaction()?;
        schema::create(&tx, [0; 16])?;
        for row in (1_000..=ROWS).filter(|row| row % 3 != 0) {
            let entry = Entry {
                row,
                handle: Handle::from_slice(&row.to_le_bytes()),
                digest: Digest::of(&row.to_le_bytes()),
                hash: 0,
                snapshot: Snapshot::Complete,
                flags: 0,
                oids: Oids::new(),
            };
            schema::Insert::new(&tx)?.shape(&entry, Snapshot::Complete)?;
        }
        tx.commit()?;
        schema::read_position(conn)
    }

    fn read_with(second: impl Fn() -> Option<Connection> + Sync) -> rusqlite::Result<Vec<RowId>> {
        let mut conn = Connection::open_in_memory()?;
        let position = make(&mut conn)?;
        let (send, receive) = crossbeam_channel::unbounded();
        read_all(&conn, position, second, &send)?;
        drop(send);
        Ok(receive.into_iter().flatten().map(|entry: Entry| entry.row).collect())
    }

    #[test]
    fn every_row_is_read_once_with_help_or_without() {
        let all: Vec<_> = (1_000..=ROWS).filter(|row| row % 3 != 0).collect();
        let same = || {
            let mut conn = Connection::open_in_memory().ok()?;
            make(&mut conn).ok()?;
            Some(conn)
        };
        // It sees another position: somebody wrote in between.
        let other = || {
            let conn = same()?;
            conn.execute_batch("INSERT INTO changes VALUES (1, 1, x''); DELETE FROM shapes")
                .ok()?;
            Some(conn)
        };
        let without_tables = || Connection::open_in_memory().ok();
        type Second<'a> = &'a (dyn Fn() -> Option<Connection> + Sync);
        let none = || None;
        for second in [&none as Second<'_>, &same, &other, &without_tables] {
            let mut rows = read_with(second).unwrap_or_default();
            rows.sort_unstable();
            assert_eq!(rows, all);
        }
    }
}
