//! Reading every row of a file in pieces, by two connections at once where that is
//! worth it. `row.rs` `read_entry` decodes each.

use std::{
    ops::Range,
    panic::resume_unwind,
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::{self, ScopedJoinHandle},
};

use crossbeam_channel::Sender;
use rusqlite::{Connection, params};

use crate::{
    entry::{Entry, RowId},
    file::{
        row::{read_entry, unsigned},
        schema::{self, Position},
    },
};

/// The tables of so few stay in the processor's cache, however they are filled.
const FEW: RowId = 256;

/// How many entries are a piece.
pub(crate) const PIECE: usize = 256;

/// How many pieces the second connection may be ahead of who takes them.
const PIECES_AHEAD: usize = 16;

/// In how many parts the rows are read: so many that the two end together.
const SHARES: RowId = 64;

/// With fewer rows the first connection would be done by the time that a second one
/// is open.
const WORTH_A_SECOND: RowId = 8192;

/// The first row id, and how many there may be. No store gives one below 1: a row that
/// somebody put there is not read.
fn span(conn: &Connection) -> rusqlite::Result<(RowId, RowId)> {
    let row = |sql| conn.query_row(sql, [], |row| unsigned(row, 0));
    let (first, last) = (row(schema::FIRST_SHAPE)?.max(1), row(schema::LAST_SHAPE)?);
    Ok((first, (last + 1).saturating_sub(first)))
}

/// Whether there are so few rows that each may go into the index by itself.
pub(crate) fn are_few(conn: &Connection) -> rusqlite::Result<bool> {
    span(conn).map(|(_, rows)| rows <= FEW)
}

/// Has `take` every row, for as long as it wants more, in no order but within a piece.
/// `position` is what `conn` sees, in a transaction; `second` opens another connection, if
/// there may be one.
///
/// The other connection reads on a thread of its own. Only this thread takes what was read,
/// so it reads the smaller part: each goes on with the next share that nobody has. Without, a
/// start with 20,000 or 100,000 shapes takes one and a half times as long on two cores.
pub(crate) fn read_all(
    conn: &Connection,
    position: Position,
    second: impl Fn() -> Option<Connection> + Sync,
    take: &mut dyn FnMut(Vec<Entry>) -> bool,
) -> rusqlite::Result<()> {
    let (first, rows) = span(conn)?;
    if rows < WORTH_A_SECOND {
        return read(conn, 1..RowId::MAX, take).map(drop);
    }
    let (shares, second) = (&Shares::of(first..first + rows), &second);
    // Linux may leave a new thread for milliseconds on the processor of who made it, beside one
    // that has nothing to do. Who sleeps until it runs is woken on that one.
    let here = &Barrier::new(2);
    thread::scope(|scope| {
        let (send, receive) = crossbeam_channel::bounded(PIECES_AHEAD);
        let help = move || {
            here.wait();
            second().map_or(Ok(()), |conn| help(&conn, position, shares, &send))
        };
        // Without a thread to be had there is no help.
        let helping = thread::Builder::new().spawn_scoped(scope, help).ok();
        if helping.is_some() {
            here.wait();
        }
        let mut more = true;
        while more && let Some(rows) = shares.next() {
            let mut take = |piece| take(piece) && receive.try_iter().all(&mut *take);
            more = read(conn, rows, &mut take)?;
        }
        let _all = more && receive.iter().all(&mut *take);
        // The other thread, if it waits for room in there, goes on and ends.
        drop(receive);
        let join = |helping: ScopedJoinHandle<'_, _>| {
            helping.join().unwrap_or_else(|panic| resume_unwind(panic))
        };
        helping.map_or(Ok(()), join)
    })
}

/// Parts of a range of rows, to be read each by whoever comes first.
struct Shares {
    rows: Range<RowId>,
    /// How many row ids each has, of which any number may be gone.
    len: RowId,
    next: AtomicU64,
}

impl Shares {
    fn of(rows: Range<RowId>) -> Self {
        let len = (rows.end - rows.start).div_ceil(SHARES);
        Self { rows, len, next: AtomicU64::new(0) }
    }

    /// The next that nobody has.
    fn next(&self) -> Option<Range<RowId>> {
        let start = self.rows.start + self.next.fetch_add(1, Relaxed) * self.len;
        (start < self.rows.end).then(|| start..self.rows.end.min(start + self.len))
    }
}

/// Reads shares, if this connection sees the same as the first one: every batch makes
/// another position.
fn help(
    conn: &Connection,
    position: Position,
    shares: &Shares,
    pieces: &Sender<Vec<Entry>>,
) -> rusqlite::Result<()> {
    let Ok(tx) = conn.unchecked_transaction() else { return Ok(()) };
    if !schema::read_position(&tx).is_ok_and(|seen| seen == position) {
        return Ok(());
    }
    // From here on an error is one of reading: nobody else reads the share.
    while let Some(rows) = shares.next() {
        if !read(&tx, rows, &mut |piece| pieces.send(piece).is_ok())? {
            break;
        }
    }
    tx.finish()
}

/// Whether all of it was wanted.
fn read(
    conn: &Connection,
    ids: Range<RowId>,
    take: &mut dyn FnMut(Vec<Entry>) -> bool,
) -> rusqlite::Result<bool> {
    let mut statement = conn.prepare_cached(schema::READ_SHAPES_FROM)?;
    let mut rows = statement.query(params![ids.start as i64])?;
    let mut piece = Vec::with_capacity(PIECE);
    while let Some(row) = rows.next()? {
        let entry = read_entry(row)?;
        if entry.row >= ids.end {
            break;
        }
        piece.push(entry);
        if piece.len() == PIECE {
            let full = std::mem::replace(&mut piece, Vec::with_capacity(PIECE));
            if !take(full) {
                return Ok(false);
            }
        }
    }
    Ok(piece.is_empty() || take(piece))
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
            crate::file::insert::Insert::new(&tx)?.shape(&entry, Snapshot::Complete)?;
        }
        tx.commit()?;
        schema::read_position(conn)
    }

    fn read_with(second: impl Fn() -> Option<Connection> + Sync) -> rusqlite::Result<Vec<RowId>> {
        let mut conn = Connection::open_in_memory()?;
        let position = make(&mut conn)?;
        let mut all = Vec::new();
        read_all(&conn, position, second, &mut |piece| {
            all.extend(piece.into_iter().map(|entry| entry.row));
            true
        })?;
        Ok(all)
    }

    /// Another connection that sees the same.
    fn same() -> Option<Connection> {
        let mut conn = Connection::open_in_memory().ok()?;
        make(&mut conn).ok()?;
        Some(conn)
    }

    #[test]
    fn a_row_below_the_first_there_may_be_hides_no_other() -> rusqlite::Result<()> {
        let mut conn = Connection::open_in_memory()?;
        let position = make(&mut conn)?;
        conn.execute("UPDATE shapes SET id = -5000 WHERE id = 1000", [])?;
        let mut rows = 0;
        read_all(&conn, position, || None, &mut |piece| {
            rows += piece.len();
            true
        })?;
        let all = (1_000..=ROWS).filter(|row| row % 3 != 0).count();
        assert_eq!(rows, all - 1);
        Ok(())
    }

    /// The other one is far enough ahead by then to wait for room.
    #[test]
    fn who_wants_no_more_pieces_gets_none() -> rusqlite::Result<()> {
        let mut conn = Connection::open_in_memory()?;
        let position = make(&mut conn)?;
        for wanted in [1, 2, 40, 60] {
            let mut taken = 0;
            read_all(&conn, position, same, &mut |_piece| {
                taken += 1;
                taken < wanted
            })?;
            assert_eq!(taken, wanted);
        }
        Ok(())
    }

    #[test]
    fn every_row_is_read_once_with_help_or_without() {
        let all: Vec<_> = (1_000..=ROWS).filter(|row| row % 3 != 0).collect();
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
