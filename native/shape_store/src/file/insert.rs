//! Shapes into the file: one by one, or many with two statements.
//!
//! A statement for each row costs more than the row: binding, starting, ending, and finding
//! the end of the table again. So the rows are a table that SQLite selects from, a [virtual
//! one](https://sqlite.org/vtab.html) whose rows are those that this thread is inserting.

use std::{
    borrow::Cow,
    cell::RefCell,
    ffi::{CStr, c_int},
    rc::Rc,
    sync::Arc,
};

use rusqlite::{
    CachedStatement, Connection, Result, ffi, params,
    vtab::{Context, Filters, IndexInfo, Module, VTab, VTabConfig, VTabConnection, VTabCursor},
};

use super::{
    row::pack_oids,
    schema::{INSERT_BODIES, INSERT_BODY, INSERT_SHAPE, INSERT_SHAPES},
};
use crate::{
    cache::body::checksum,
    entry::{Entry, Snapshot},
};

/// Inserts shapes, with statements that are looked up once for all of them.
pub(crate) struct Insert<'a> {
    shape: CachedStatement<'a>,
    body: CachedStatement<'a>,
}

impl<'a> Insert<'a> {
    pub(crate) fn new(conn: &'a Connection) -> Result<Self> {
        let (shape, body) = (conn.prepare_cached(INSERT_SHAPE)?, conn.prepare_cached(INSERT_BODY)?);
        Ok(Self { shape, body })
    }

    pub(crate) fn shape(&mut self, entry: &Entry, snapshot: Snapshot) -> Result<()> {
        let relations = pack_oids(&entry.oids);
        let values = params![
            entry.row as i64,
            entry.handle.as_slice(),
            entry.digest.0.as_slice(),
            entry.hash,
            snapshot as u8,
            relations.as_slice(),
            entry.flags,
        ];
        self.shape.execute(values).map(drop)
    }

    pub(crate) fn body(&mut self, entry: &Entry, body: &[u8]) -> Result<()> {
        let checksum = checksum(entry, body) as i64;
        self.body.execute(params![entry.row as i64, checksum, body]).map(drop)
    }
}

/// A shape to be inserted.
pub(crate) struct NewShape {
    pub(crate) entry: Entry,
    pub(crate) body: Arc<[u8]>,
}

const NAME: &CStr = c"shape_store_inserts";
const COLUMNS: &CStr = c"CREATE TABLE inserts(
    id, handle, comparable, hash, snapshot, relations, flags, checksum, shape)";

thread_local! {
    /// What the statement that this thread is running inserts.
    static INSERTS: RefCell<Rc<Vec<NewShape>>> = RefCell::default();
}

/// Makes a connection one that [`insert`] can use.
pub(crate) fn prepare(conn: &Connection) -> Result<()> {
    const MODULE: Module<'_, Inserts> = Module::eponymous_only_module();
    conn.create_module(NAME, &MODULE, None)
}

/// Inserts shapes, none of which is marked, in the transaction that the connection is in.
/// After an error any number of them is there.
pub(crate) fn insert(conn: &Connection, shapes: Vec<NewShape>) -> Result<()> {
    let shapes = Rc::new(shapes);
    INSERTS.set(Rc::clone(&shapes));
    let inserted = [INSERT_SHAPES, INSERT_BODIES].iter().try_for_each(|sql| {
        match conn.prepare_cached(sql)?.execute([])? == shapes.len() {
            true => Ok(()),
            // Somebody has made a table of this name.
            false => Err(rusqlite::Error::SqliteFailure(
                ffi::Error::new(ffi::SQLITE_CONSTRAINT),
                Some("these are not the shapes to be inserted".into()),
            )),
        }
    });
    INSERTS.take();
    inserted
}

#[repr(C)]
struct Inserts {
    /// SQLite's part of it, which it has a pointer to.
    base: ffi::sqlite3_vtab,
}

// SAFETY: its layout is C's, and SQLite's part comes first, which is all that is asked for.
unsafe impl<'vtab> VTab<'vtab> for Inserts {
    type Aux = ();
    type Cursor = Cursor;

    fn connect(
        db: &mut VTabConnection,
        _: Option<&()>,
        _: &[u8],
        _: &[u8],
        _: &[u8],
        _: &[&[u8]],
    ) -> Result<(Cow<'static, CStr>, Self)> {
        // Not for views and triggers.
        db.config(VTabConfig::DirectOnly)?;
        Ok((Cow::Borrowed(COLUMNS), Self { base: ffi::sqlite3_vtab::default() }))
    }

    fn best_index(&self, _: &mut IndexInfo) -> Result<bool> {
        Ok(true)
    }

    fn open(&'vtab mut self) -> Result<Cursor> {
        Ok(Cursor::default())
    }
}

#[derive(Default)]
#[repr(C)]
struct Cursor {
    /// SQLite's part of it, which it has a pointer to.
    base: ffi::sqlite3_vtab_cursor,
    shapes: Rc<Vec<NewShape>>,
    at: usize,
}

// SAFETY: as for its table.
unsafe impl VTabCursor for Cursor {
    fn filter(&mut self, _: c_int, _: Option<&str>, _: &Filters<'_>) -> Result<()> {
        self.shapes = INSERTS.with_borrow(Rc::clone);
        self.at = 0;
        Ok(())
    }

    fn next(&mut self) -> Result<()> {
        self.at += 1;
        Ok(())
    }

    fn eof(&self) -> bool {
        self.at >= self.shapes.len()
    }

    fn column(&self, context: &mut Context, column: c_int) -> Result<()> {
        let Some(NewShape { entry, body }) = self.shapes.get(self.at) else { return Ok(()) };
        match column {
            0 => context.set_result(entry.row as i64),
            1 => context.set_result(entry.handle.as_slice()),
            2 => context.set_result(entry.digest.0.as_slice()),
            3 => context.set_result(entry.hash),
            4 => context.set_result(Snapshot::None as u8),
            5 => context.set_result(pack_oids(&entry.oids).as_slice()),
            6 => context.set_result(entry.flags),
            7 => context.set_result(checksum(entry, body) as i64),
            8 => context.set_result(&**body),
            _ => Ok(()),
        }
    }

    fn rowid(&self) -> Result<i64> {
        Ok(self.at as i64)
    }
}
