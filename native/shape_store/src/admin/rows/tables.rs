//! What the tables of a file have of a range of shapes, of its schema or of the one before.

use rusqlite::{Connection, params, types::ValueRef};

use crate::{
    admin::{
        row::{Condition, Row},
        source::Source,
    },
    cache::body::checksum,
    entry::Oid,
    file::{row::unpack_oids, schema},
};

/// What the reading of a range ended with.
pub(super) enum End {
    /// Everything in the range was read.
    Range,
    Limit,
    Failed(rusqlite::Error),
}

pub(super) fn read_new(
    conn: &Connection,
    from: i64,
    to: i64,
    limit: usize,
    into: &mut Vec<Row>,
) -> rusqlite::Result<End> {
    let mut statement = conn.prepare_cached(
        "SELECT id, handle, comparable, hash, snapshot, relations, flags FROM shapes \
         WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
    )?;
    let mut rows = statement.query(params![from, to])?;
    while into.len() < limit {
        let Some(row) = rows.next()? else { return Ok(End::Range) };
        let relations = bytes(row.get_ref(5)?);
        let mut read = Row {
            id: number(row.get_ref(0)?),
            handle: bytes(row.get_ref(1)?).to_vec(),
            digest: bytes(row.get_ref(2)?).to_vec(),
            hash: number(row.get_ref(3)?),
            snapshot: number(row.get_ref(4)?),
            flags: number(row.get_ref(6)?) as u8,
            oids: unpack_oids(relations).to_vec(),
            body: Vec::new(),
            condition: Condition::Damaged,
        };
        (read.body, read.condition) = body_of(conn, &read);
        if !relations.len().is_multiple_of(4) || !(0..=2).contains(&read.snapshot) {
            read.condition = Condition::Damaged;
        }
        into.push(read);
    }
    Ok(End::Limit)
}

fn body_of(conn: &Connection, row: &Row) -> (Vec<u8>, Condition) {
    let read = conn.prepare_cached(schema::READ_BODY).and_then(|mut statement| {
        let mut rows = statement.query([row.id])?;
        let Some(found) = rows.next()? else { return Ok((Vec::new(), Condition::Bodiless)) };
        let (stored, body) = (number(found.get_ref(0)?), bytes(found.get_ref(1)?));
        let sound = row.entry(row.id).is_some_and(|entry| checksum(&entry, body) == stored as u64);
        let condition = if sound { Condition::Sound } else { Condition::Damaged };
        Ok((body.to_vec(), condition))
    });
    read.unwrap_or((Vec::new(), Condition::Unreadable))
}

pub(super) fn read_old(
    conn: &Connection,
    from: i64,
    to: i64,
    limit: usize,
    into: &mut Vec<Row>,
) -> rusqlite::Result<End> {
    let mut statement = conn.prepare_cached(
        "SELECT rowid, handle, comparable, hash, snapshot_complete, shape FROM shapes \
         NOT INDEXED WHERE rowid BETWEEN ?1 AND ?2 ORDER BY rowid",
    )?;
    let mut rows = statement.query(params![from, to])?;
    while into.len() < limit {
        let Some(row) = rows.next()? else { return Ok(End::Range) };
        let handle = bytes(row.get_ref(1)?).to_vec();
        let oids = oids_of(conn, &handle);
        into.push(Row {
            id: number(row.get_ref(0)?),
            digest: bytes(row.get_ref(2)?).to_vec(),
            hash: number(row.get_ref(3)?),
            // Schema 4 does not keep "started" apart.
            snapshot: if number(row.get_ref(4)?) == 0 { 0 } else { 2 },
            flags: 0,
            body: bytes(row.get_ref(5)?).to_vec(),
            condition: match &oids {
                Ok(_) => Condition::Unverified,
                Err(_) => Condition::Damaged,
            },
            oids: oids.unwrap_or_default(),
            handle,
        });
    }
    Ok(End::Limit)
}

/// From the table, if its index is damaged.
fn oids_of(conn: &Connection, handle: &[u8]) -> rusqlite::Result<Vec<Oid>> {
    let read = |sql| -> rusqlite::Result<Vec<Oid>> {
        let mut statement = conn.prepare_cached(sql)?;
        let rows = statement.query_map([handle], |row| row.get::<_, Oid>(0))?;
        rows.collect()
    };
    read("SELECT oid FROM relations WHERE handle = ?1 ORDER BY oid").or_else(|_| {
        read("SELECT DISTINCT oid FROM relations NOT INDEXED WHERE handle = ?1 ORDER BY oid")
    })
}

fn bytes(value: ValueRef<'_>) -> &[u8] {
    match value {
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => bytes,
        _ => &[],
    }
}

fn number(value: ValueRef<'_>) -> i64 {
    match value {
        ValueRef::Integer(number) => number,
        _ => -1,
    }
}

pub(super) fn first(source: &Source) -> i64 {
    let sql = "SELECT coalesce(min(rowid), 1) FROM shapes NOT INDEXED";
    source.conn.query_row(sql, [], |row| row.get(0)).unwrap_or(1)
}

/// The last id: of a table that cannot be asked for it, that which another one knows of, or
/// more than any file of this size has.
pub(super) fn last(source: &Source) -> i64 {
    let asked = |sql| source.conn.query_row(sql, [], |row| row.get::<_, i64>(0)).ok();
    let shapes = asked("SELECT coalesce(max(rowid), 0) FROM shapes NOT INDEXED");
    let others = || {
        let bodies = asked("SELECT coalesce(max(id), 0) FROM bodies");
        bodies.max(asked("SELECT max(next_row) - 1 FROM changes"))
    };
    shapes.or_else(|| if source.is_old() { None } else { others() }).unwrap_or(1 << 32)
}
