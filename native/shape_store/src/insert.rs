//! Many shapes into the file by one statement, which costs each of them less: the place where
//! the first goes is looked for, and the others come after it.

use std::sync::LazyLock;

use rusqlite::{CachedStatement, Connection};

use crate::{
    body::{Body, Dictionary, checksum},
    entry::{Entry, Snapshot},
    schema,
};

/// How many. A statement that fails leaves nothing behind, for which SQLite copies the pages
/// that it changes: a few each time.
pub(crate) const AT_ONCE: usize = 32;

static SHAPES: LazyLock<String> = LazyLock::new(|| insertion("shapes", SHAPE_COLUMNS));
static BODIES: LazyLock<String> = LazyLock::new(|| insertion("bodies", BODY_COLUMNS));

const SHAPE_COLUMNS: usize = 7;
const BODY_COLUMNS: usize = 3;

fn insertion(table: &str, columns: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    format!("INSERT INTO main.{table} VALUES {}", vec![row; AT_ONCE].join(","))
}

/// A shape as it was added.
pub(crate) struct Added<'q> {
    /// Its place in the batch.
    pub(crate) offset: usize,
    pub(crate) entry: Entry,
    pub(crate) body: &'q Body,
    /// Whether its commit is to be told by name.
    pub(crate) log: bool,
}

/// The statements, looked up once for all that use them.
pub(crate) struct InsertMany<'a> {
    shapes: CachedStatement<'a>,
    bodies: CachedStatement<'a>,
}

impl<'a> InsertMany<'a> {
    pub(crate) fn new(conn: &'a Connection) -> rusqlite::Result<Self> {
        Ok(Self { shapes: conn.prepare_cached(&SHAPES)?, bodies: conn.prepare_cached(&BODIES)? })
    }

    /// Inserts [`AT_ONCE`] shapes, or none of them unless the error ends the transaction.
    pub(crate) fn all(
        &mut self,
        conn: &Connection,
        added: &[Added<'_>],
        dictionary: &Dictionary,
        buffer: &mut Vec<u8>,
    ) -> rusqlite::Result<()> {
        for (place, Added { entry, .. }) in added.iter().enumerate() {
            bind_shape(&mut self.shapes, place * SHAPE_COLUMNS, entry)?;
        }
        for (place, Added { entry, body, .. }) in added.iter().enumerate() {
            let body = dictionary.unpack(body, buffer);
            bind_body(&mut self.bodies, place * BODY_COLUMNS, entry, body)?;
        }
        self.shapes.raw_execute()?;
        self.bodies.raw_execute().map(drop).inspect_err(|_| {
            let mut delete = conn.prepare_cached(schema::DELETE_SHAPE);
            for Added { entry, .. } in added {
                // Of a transaction that cannot go on nothing stays in any case.
                let _ = delete.as_mut().map(|delete| delete.execute([entry.row as i64]));
            }
        })
    }
}

fn bind_shape(
    statement: &mut CachedStatement<'_>,
    before: usize,
    entry: &Entry,
) -> rusqlite::Result<()> {
    statement.raw_bind_parameter(before + 1, entry.row as i64)?;
    statement.raw_bind_parameter(before + 2, entry.handle.as_slice())?;
    statement.raw_bind_parameter(before + 3, entry.digest.0.as_slice())?;
    statement.raw_bind_parameter(before + 4, entry.hash)?;
    statement.raw_bind_parameter(before + 5, Snapshot::None as u8)?;
    statement.raw_bind_parameter(before + 6, schema::pack_oids(&entry.oids).as_slice())?;
    statement.raw_bind_parameter(before + 7, entry.flags)
}

fn bind_body(
    statement: &mut CachedStatement<'_>,
    before: usize,
    entry: &Entry,
    body: &[u8],
) -> rusqlite::Result<()> {
    statement.raw_bind_parameter(before + 1, entry.row as i64)?;
    statement.raw_bind_parameter(before + 2, checksum(entry, body) as i64)?;
    statement.raw_bind_parameter(before + 3, body)
}
