//! Schema 5: narrow rows apart from bodies.
//!
//! Opening reads only the narrow rows. There is no index and no uniqueness in
//! SQL: the index in memory sees to that, and loading verifies it.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::row::unsigned;
use crate::entry::RowId;

/// In `PRAGMA user_version` and in the file's name.
pub const SCHEMA_VERSION: i64 = 5;

/// How many batches back a standby can follow by reading [`changes`](TABLES);
/// one that is further behind reads everything again.
pub(crate) const CHANGES_KEPT: u64 = 256;

/// `shapes.relations` is each oid in four bytes, little-endian, ascending.
/// `changes.rows` is the id of each row that the batch changed or removed in
/// eight bytes, little-endian; a zero stands for "anything may have changed".
/// `changes.next_row` is the first row id not given by the end of the batch.
/// `ages` is described in `ages.rs`.
/// `bodies.checksum` is that of the whole shape; see [`checksum`].
///
/// In `meta`: `identity`, drawn when the database is made; `epoch`, how often it changed its
/// writer; `stack`, whose it is; `clean`, 1 when it was closed and needs no check; `unsettled`,
/// how many row ids its writer may have given beyond those that `changes` tells of;
/// `flags_version`, what the flags mean, if somebody said.
const TABLES: &str = "
    CREATE TABLE main.shapes (
        id INTEGER PRIMARY KEY,
        handle BLOB NOT NULL,
        comparable BLOB NOT NULL,
        hash INTEGER NOT NULL,
        snapshot INTEGER NOT NULL,
        relations BLOB NOT NULL,
        flags INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE main.ages (piece INTEGER PRIMARY KEY, items BLOB NOT NULL) STRICT;
    CREATE TABLE main.bodies (
        id INTEGER PRIMARY KEY,
        checksum INTEGER NOT NULL,
        shape BLOB NOT NULL
    ) STRICT;
    CREATE TABLE main.changes (
        batch INTEGER PRIMARY KEY,
        next_row INTEGER NOT NULL,
        rows BLOB NOT NULL
    ) STRICT;
    CREATE TABLE main.meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO main.meta VALUES ('epoch', 0), ('clean', 1), ('unsettled', 0);
    INSERT INTO main.changes VALUES (0, 1, x'');
    PRAGMA main.user_version = 5;
";

/// A body of a kilobyte in a page of four would leave a quarter of it empty.
pub(crate) const PAGE_SIZE: u32 = 16_384;

pub(crate) const INSERT_SHAPE: &str = "INSERT INTO main.shapes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
pub(crate) const INSERT_BODY: &str = "INSERT INTO main.bodies VALUES (?1, ?2, ?3)";
/// A failure leaves what was inserted before it, for the transaction to end: with `ABORT`
/// SQLite would copy each page first.
pub(crate) const INSERT_SHAPES: &str = "INSERT OR FAIL INTO main.shapes
    SELECT id, handle, comparable, hash, snapshot, relations, flags FROM main.shape_store_inserts";
pub(crate) const INSERT_BODIES: &str =
    "INSERT OR FAIL INTO main.bodies SELECT id, checksum, shape FROM main.shape_store_inserts";

pub(crate) const DELETE_SHAPE: &str = "DELETE FROM main.shapes WHERE id = ?1";
pub(crate) const DELETE_BODY: &str = "DELETE FROM main.bodies WHERE id = ?1";
pub(crate) const MARK_SHAPE: &str = "UPDATE main.shapes SET snapshot = ?2 WHERE id = ?1";
pub(crate) const FLAG_SHAPE: &str = "UPDATE main.shapes SET flags = ?2 WHERE id = ?1";
pub(crate) const DELETE_SHAPES_BELOW: &str = "DELETE FROM main.shapes WHERE id < ?1";
pub(crate) const DELETE_BODIES_BELOW: &str = "DELETE FROM main.bodies WHERE id < ?1";
pub(crate) const INSERT_CHANGES: &str = "INSERT INTO main.changes VALUES (?1, ?2, ?3)";
pub(crate) const PRUNE_CHANGES: &str = "DELETE FROM main.changes WHERE batch <= ?1";
pub(crate) const READ_META: &str = "SELECT value FROM main.meta WHERE key = ?1";
pub(crate) const WRITE_META: &str = "INSERT OR REPLACE INTO main.meta VALUES (?1, ?2)";
pub(crate) const READ_BODY: &str = "SELECT checksum, shape FROM main.bodies WHERE id = ?1";
pub(crate) const READ_SHAPES_FROM: &str = "SELECT id, handle, comparable, hash, snapshot, relations, flags FROM main.shapes WHERE id >= ?1 ORDER BY id";
pub(crate) const FIRST_SHAPE: &str = "SELECT coalesce(min(id), 0) FROM main.shapes";
pub(crate) const LAST_SHAPE: &str = "SELECT coalesce(max(id), 0) FROM main.shapes";
pub(crate) const READ_CHANGING: &str = "SELECT snapshot, flags FROM main.shapes WHERE id = ?1";
pub(crate) const READ_CHANGES: &str =
    "SELECT batch, next_row, rows FROM main.changes WHERE batch > ?1 ORDER BY batch";
/// The next row id is beyond every row, even in a file that lost some changes.
pub(crate) const READ_LAST_CHANGE: &str = "
    SELECT batch, max(
        next_row,
        1 + coalesce((SELECT max(id) FROM main.shapes), 0),
        1 + coalesce((SELECT max(id) FROM main.bodies), 0)
    ) FROM main.changes ORDER BY batch DESC LIMIT 1";
/// With the meaning of [`READ_LAST_CHANGE`], and whose file it is.
pub(crate) const READ_LABEL: &str = "
    SELECT
        (SELECT value FROM main.meta WHERE key = 'identity'),
        (SELECT value FROM main.meta WHERE key = 'epoch'),
        batch, max(
            next_row,
            1 + coalesce((SELECT max(id) FROM main.shapes), 0),
            1 + coalesce((SELECT max(id) FROM main.bodies), 0)
        ) FROM main.changes ORDER BY batch DESC LIMIT 1";
pub(crate) const SKIP_ROWS: &str =
    "UPDATE main.changes SET next_row = ?1 WHERE batch = (SELECT max(batch) FROM main.changes)";
pub(crate) const DELETE_BODILESS: &str =
    "DELETE FROM main.shapes WHERE id NOT IN (SELECT id FROM main.bodies)";

pub(crate) const DELETE_AGES: &str = "DELETE FROM main.ages";
pub(crate) const INSERT_AGES: &str = "INSERT INTO main.ages VALUES (?1, ?2)";
pub(crate) const READ_AGES: &str = "SELECT piece, items FROM main.ages ORDER BY piece";

/// The key in `meta` of what the flags in the file mean.
pub(crate) const FLAGS_VERSION: &str = "flags_version";

/// Every statement the store runs on its tables, with a name, as `explain` shows
/// them.
pub const STATEMENTS: &[(&str, &str)] = &[
    ("insert_shape", INSERT_SHAPE),
    ("insert_body", INSERT_BODY),
    ("insert_shapes", INSERT_SHAPES),
    ("insert_bodies", INSERT_BODIES),
    ("delete_shape", DELETE_SHAPE),
    ("delete_body", DELETE_BODY),
    ("mark_shape", MARK_SHAPE),
    ("flag_shape", FLAG_SHAPE),
    ("delete_shapes_below", DELETE_SHAPES_BELOW),
    ("delete_bodies_below", DELETE_BODIES_BELOW),
    ("insert_changes", INSERT_CHANGES),
    ("prune_changes", PRUNE_CHANGES),
    ("read_meta", READ_META),
    ("write_meta", WRITE_META),
    ("read_body", READ_BODY),
    ("read_shapes_from", READ_SHAPES_FROM),
    ("first_shape", FIRST_SHAPE),
    ("last_shape", LAST_SHAPE),
    ("read_changing", READ_CHANGING),
    ("read_changes", READ_CHANGES),
    ("delete_bodiless", DELETE_BODILESS),
    ("read_last_change", READ_LAST_CHANGE),
    ("read_label", READ_LABEL),
    ("skip_rows", SKIP_ROWS),
    ("delete_ages", DELETE_AGES),
    ("insert_ages", INSERT_AGES),
    ("read_ages", READ_AGES),
];

/// Which database a file holds: drawn once, and the same in a copy of it.
pub(crate) type Identity = [u8; 16];

/// Makes the tables of an empty database.
pub(crate) fn create(tx: &Transaction<'_>, identity: Identity) -> rusqlite::Result<()> {
    tx.execute_batch(TABLES)?;
    write_meta(tx, "identity", identity)
}

/// Where the writing of a file stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    /// The last batch.
    pub(crate) batch: u64,
    /// The first row id not given.
    pub(crate) next_row: RowId,
}

pub(crate) fn read_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("PRAGMA user_version", [], |row| row.get(0))
}

pub(crate) fn read_position(conn: &Connection) -> rusqlite::Result<Position> {
    conn.prepare_cached(READ_LAST_CHANGE)?.query_row([], |row| {
        Ok(Position { batch: unsigned(row, 0)?, next_row: unsigned(row, 1)?.max(1) })
    })
}

pub(crate) fn read_meta_number(conn: &Connection, key: &str) -> rusqlite::Result<i64> {
    conn.prepare_cached(READ_META)?.query_row([key], |row| row.get(0))
}

/// The bytes of a text or a blob.
pub(crate) fn read_meta_bytes(conn: &Connection, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut read = conn.prepare_cached(READ_META)?;
    read.query_row([key], |row| Ok(row.get_ref(0)?.as_bytes()?.to_vec())).optional()
}

pub(crate) fn read_flags_version(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let bytes = read_meta_bytes(conn, FLAGS_VERSION)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Changes nothing, so that the transaction is one that is written and synced all the same. A
/// row that is written as it was leaves its page as it was; SQLite asks no such thing of this.
pub(crate) fn touch(conn: &Connection) -> rusqlite::Result<()> {
    let version: i64 = conn.query_row("PRAGMA main.user_version", [], |row| row.get(0))?;
    conn.execute_batch(&format!("PRAGMA main.user_version = {version}"))
}

pub(crate) fn write_meta(
    conn: &Connection,
    key: &str,
    value: impl rusqlite::ToSql,
) -> rusqlite::Result<()> {
    conn.prepare_cached(WRITE_META)?.execute(params![key, value]).map(drop)
}
