//! The rows of an older file: of schema 4, and of ours from another release of OTP.

use std::collections::HashMap;

use rusqlite::{Connection, Row};

use crate::{
    cache::body::checksum,
    entry::{Digest, Entry, Handle, MAX_HANDLE, MAX_OIDS, Oid, Oids, RowId, Snapshot},
    file::{row::unpack_oids, schema},
};

/// A row of an older file.
pub(super) struct Old {
    pub(super) handle: Handle,
    pub(super) body: Vec<u8>,
    pub(super) comparable: Vec<u8>,
    pub(super) hash: u32,
    pub(super) snapshot: Snapshot,
    pub(super) flags: u8,
    pub(super) oids: Oids,
}

impl Old {
    pub(super) fn entry(&self, row: RowId, digest: Digest) -> Entry {
        Entry {
            row,
            handle: self.handle.clone(),
            digest,
            hash: self.hash,
            snapshot: self.snapshot,
            flags: self.flags,
            oids: self.oids.clone(),
        }
    }

    /// Whether a store takes it.
    pub(super) fn is_usable(&self) -> bool {
        !self.handle.is_empty() && self.handle.len() <= MAX_HANDLE && self.oids.len() <= MAX_OIDS
    }
}

/// Whether nothing was ever written to the file, as when its writer died at the start.
pub(super) fn is_empty(old: &Connection) -> rusqlite::Result<bool> {
    let anything = "SELECT count(*) FROM sqlite_schema";
    let things: i64 = old.query_row(anything, [], |row| row.get(0))?;
    Ok(things == 0 && schema::read_version(old)? == 0)
}

/// How many shapes there are.
pub(super) fn count(old: &Connection) -> rusqlite::Result<i64> {
    old.query_row("SELECT count(*) FROM shapes", [], |row| row.get(0))
}

/// The tables that each shape reads; none for a shape with a table that is no oid.
pub(super) fn relations_four(old: &Connection) -> rusqlite::Result<HashMap<Handle, Option<Oids>>> {
    let mut relations: HashMap<Handle, Option<Oids>> = HashMap::new();
    let mut statement = old.prepare("SELECT handle, oid FROM relations ORDER BY handle, oid")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        // Without a handle it belongs to no shape.
        let Ok(handle) = row.get_ref(0)?.as_bytes() else { continue };
        let oids = relations.entry(Handle::from_slice(handle));
        let oids = oids.or_insert_with(|| Some(Oids::new()));
        match row.get::<_, Oid>(1) {
            Ok(oid) => oids.iter_mut().for_each(|oids| oids.push(oid)),
            Err(_) => *oids = None,
        }
    }
    Ok(relations)
}

pub(super) const SHAPES_FOUR: &str =
    "SELECT handle, shape, comparable, hash, snapshot_complete FROM shapes ORDER BY rowid";

/// What we need of a row of schema 4 with this handle, if it is all there and of the right
/// kind. Takes the tables that the shape reads out of `relations`.
pub(super) fn read_four(
    row: &Row<'_>,
    handle: Handle,
    relations: &mut HashMap<Handle, Option<Oids>>,
) -> Option<Old> {
    // Schema 4 counts 1 as complete; it does not keep "started" apart.
    let complete = row.get_ref(4).ok()?.as_i64().ok()?;
    Some(Old {
        oids: relations.remove(&handle).unwrap_or_else(|| Some(Oids::new()))?,
        handle,
        body: row.get_ref(1).ok()?.as_blob().ok()?.to_vec(),
        comparable: row.get_ref(2).ok()?.as_blob().ok()?.to_vec(),
        hash: row.get(3).ok()?,
        snapshot: if complete == 0 { Snapshot::None } else { Snapshot::Complete },
        flags: 0,
    })
}

pub(super) const SHAPES_FIVE: &str = "\
    SELECT s.handle, b.shape, s.comparable, s.hash, s.snapshot, s.relations, \
    s.id, b.checksum, s.flags \
    FROM shapes s JOIN bodies b ON b.id = s.id ORDER BY s.id";

/// The same of a row of ours.
pub(super) fn read_five(row: &Row<'_>, handle: Handle) -> Option<Old> {
    let (id, stored) = (row.get_ref(6).ok()?, row.get_ref(7).ok()?);
    let (id, stored) = (id.as_i64().ok()?, stored.as_i64().ok()?);
    let snapshot = row.get_ref(4).ok()?.as_i64().ok()?;
    let old = Old {
        handle,
        body: row.get_ref(1).ok()?.as_blob().ok()?.to_vec(),
        comparable: row.get_ref(2).ok()?.as_blob().ok()?.to_vec(),
        hash: row.get(3).ok()?,
        snapshot: Snapshot::from_number(snapshot.unsigned_abs()),
        flags: row.get_ref(8).ok()?.as_i64().ok()? as u8,
        oids: unpack_oids(row.get_ref(5).ok()?.as_blob().ok()?),
    };
    let digest = Digest(<[u8; 32]>::try_from(old.comparable.as_slice()).ok()?);
    let written = checksum(&old.entry(id.unsigned_abs(), digest), &old.body);
    // A body that is not the one that was written for this row is none.
    (written == stored as u64).then_some(old)
}
