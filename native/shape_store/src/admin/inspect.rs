//! What a file has, in numbers.

use std::collections::HashMap;

use rusqlite::{Connection, types::ValueRef};

use super::{AdminError, source::Source};
use crate::{
    entry::Oid,
    file::{self, row::unpack_oids, schema},
};

/// What a file of ours says of itself.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Label {
    /// The stack that wrote it last.
    pub stack: String,
    /// How often it changed its writer.
    pub epoch: i64,
    /// How many batches were written.
    pub batch: i64,
    /// The first row id not given.
    pub next_row: i64,
    /// Whether it was closed in order.
    pub clean: bool,
    /// Drawn when the database was made.
    pub identity: Vec<u8>,
}

/// The numbers of a file.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Summary {
    /// Its schema, 4 or 5.
    pub version: i64,
    /// What it says of itself; schema 4 says nothing.
    pub label: Option<Label>,
    /// Shapes.
    pub shapes: u64,
    /// Of these, with a snapshot that is begun and not complete.
    pub started: u64,
    /// Of these, with a complete snapshot.
    pub complete: u64,
    /// Pairs of a shape and a table.
    pub relations: u64,
    /// How many shapes read a table: all tables, the most read first.
    pub tables: Vec<(Oid, u64)>,
    /// Bytes of all definitions.
    pub body_bytes: u64,
    /// Bytes of the largest.
    pub largest_body: u64,
    /// Bytes of a page.
    pub page_size: u64,
    /// Pages.
    pub pages: u64,
    /// Of these, without use.
    pub free_pages: u64,
}

pub(super) fn summary(source: &Source) -> Result<Summary, AdminError> {
    read(source).map_err(source.failed())
}

fn read(source: &Source) -> rusqlite::Result<Summary> {
    // One moment of a file that may be written meanwhile.
    let conn = &*source.conn.unchecked_transaction()?;
    let number = |sql: &str| {
        conn.query_row(sql, [], |row| Ok(row.get::<_, Option<i64>>(0)?.unwrap_or(0).unsigned_abs()))
    };
    let mut summary = Summary {
        version: source.version,
        page_size: number("PRAGMA page_size")?,
        pages: number("PRAGMA page_count")?,
        free_pages: number("PRAGMA freelist_count")?,
        ..Summary::default()
    };
    let mut tables: HashMap<Oid, u64> = HashMap::new();
    if source.is_old() {
        // Its indices have all of it again, and do not tell whether the tables can be read.
        let shapes = |what: &str| number(&format!("SELECT {what} FROM shapes NOT INDEXED"));
        summary.shapes = shapes("count(*)")?;
        summary.complete = shapes("sum(snapshot_complete <> 0)")?;
        summary.body_bytes = shapes("sum(length(shape))")?;
        summary.largest_body = shapes("max(length(shape))")?;
        let mut counts =
            conn.prepare("SELECT oid, count(*) FROM relations NOT INDEXED GROUP BY oid")?;
        let mut rows = counts.query([])?;
        while let Some(row) = rows.next()? {
            tables.insert(row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs());
        }
    } else {
        summary.label = Some(label(conn)?);
        summary.body_bytes = number("SELECT sum(length(shape)) FROM bodies")?;
        summary.largest_body = number("SELECT max(length(shape)) FROM bodies")?;
        let mut narrow = conn.prepare("SELECT snapshot, relations FROM shapes")?;
        let mut rows = narrow.query([])?;
        while let Some(row) = rows.next()? {
            summary.shapes += 1;
            match row.get_ref(0)? {
                ValueRef::Integer(1) => summary.started += 1,
                ValueRef::Integer(0) => {}
                _ => summary.complete += 1,
            }
            for oid in unpack_oids(row.get_ref(1)?.as_bytes()?) {
                *tables.entry(oid).or_default() += 1;
            }
        }
    }
    summary.relations = tables.values().sum();
    summary.tables = tables.into_iter().collect();
    summary.tables.sort_unstable_by_key(|(oid, count)| (std::cmp::Reverse(*count), *oid));
    Ok(summary)
}

fn label(conn: &Connection) -> rusqlite::Result<Label> {
    let label = file::Label::read(conn)?;
    Ok(Label {
        stack: text(schema::read_meta_bytes(conn, "stack")?),
        epoch: label.epoch,
        batch: label.position.batch as i64,
        next_row: label.position.next_row as i64,
        clean: schema::read_meta_number(conn, "clean")? == 1,
        identity: label.identity.to_vec(),
    })
}

fn text(bytes: Option<Vec<u8>>) -> String {
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}
