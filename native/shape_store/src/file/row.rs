//! A row of the file, decoded and encoded: a shape, its body, and lists of numbers.

use rusqlite::{Connection, Row};
use smallvec::SmallVec;

use super::schema::READ_BODY;
use crate::{
    cache::body::{Body, checksum},
    entry::{Digest, Entry, Handle, Oid, Oids, RowId, Snapshot},
};

/// The body of a shape as the file has it.
#[derive(Debug)]
pub(crate) enum Stored<T = Body> {
    Whole(T),
    /// The row is gone.
    Gone,
    /// What is there is not what was written for this shape.
    Damaged,
}

impl<T> Stored<T> {
    pub(crate) fn whole(self) -> Option<T> {
        match self {
            Self::Whole(body) => Some(body),
            Self::Gone | Self::Damaged => None,
        }
    }
}

/// Reads the body of a committed shape.
pub(crate) fn read_body(conn: &Connection, entry: &Entry) -> rusqlite::Result<Stored> {
    visit_body(conn, entry, Body::plain)
}

/// The same where SQLite has it.
pub(crate) fn visit_body<T>(
    conn: &Connection,
    entry: &Entry,
    visit: impl FnOnce(&[u8]) -> T,
) -> rusqlite::Result<Stored<T>> {
    let mut statement = conn.prepare_cached(READ_BODY)?;
    let mut rows = statement.query([entry.row as i64])?;
    let Some(row) = rows.next()? else { return Ok(Stored::Gone) };
    let (Ok(stored), Ok(body)) = (row.get_ref(0)?.as_i64(), row.get_ref(1)?.as_blob()) else {
        return Ok(Stored::Damaged);
    };
    Ok(match stored as u64 == checksum(entry, body) {
        true => Stored::Whole(visit(body)),
        false => Stored::Damaged,
    })
}

/// A row of [`READ_SHAPES_FROM`].
pub(crate) fn read_entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let comparable = row.get_ref(2)?.as_blob()?;
    let digest = <[u8; 32]>::try_from(comparable).map_err(|_| {
        rusqlite::Error::FromSqlConversionFailure(
            2,
            rusqlite::types::Type::Blob,
            format!("a digest has 32 bytes, this one {}", comparable.len()).into(),
        )
    })?;
    Ok(Entry {
        row: unsigned(row, 0)?,
        handle: Handle::from_slice(row.get_ref(1)?.as_blob()?),
        digest: Digest(digest),
        hash: row.get(3)?,
        snapshot: Snapshot::from_number(unsigned(row, 4)?),
        oids: unpack_oids(row.get_ref(5)?.as_blob()?),
        flags: unsigned(row, 6)? as u8,
    })
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|n| u64::try_from(n).unwrap_or(0))
}

pub(crate) fn pack_oids(oids: &[Oid]) -> SmallVec<[u8; 16]> {
    oids.iter().flat_map(|oid| oid.to_le_bytes()).collect()
}

pub(crate) fn unpack_oids(bytes: &[u8]) -> Oids {
    let (oids, _) = bytes.as_chunks::<4>();
    oids.iter().map(|oid| Oid::from_le_bytes(*oid)).collect()
}

pub(crate) fn pack_rows(rows: &[RowId]) -> Vec<u8> {
    rows.iter().flat_map(|row| row.to_le_bytes()).collect()
}

pub(crate) fn unpack_rows(bytes: &[u8]) -> impl Iterator<Item = RowId> {
    bytes.as_chunks::<8>().0.iter().map(|row| RowId::from_le_bytes(*row))
}
