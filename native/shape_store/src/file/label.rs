//! What a file says of itself, and whether it is the one that a store knows.

use std::path::Path;

use parking_lot::Mutex;
use rusqlite::Connection;
use thiserror::Error;

use crate::{
    error::ReadError,
    error_text::{system, worded},
    file::{
        connection::keep_log_on_close,
        fault::Fault,
        row::unsigned,
        schema::{self, Identity, Position},
    },
    system::{FileId, System},
};

/// What a file of ours says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Label {
    /// Drawn when the database was made. A copy has it too, and what took its place.
    pub(crate) identity: Identity,
    /// How often it changed its writer.
    pub(crate) epoch: i64,
    /// How far it was written.
    pub(crate) position: Position,
}

impl Label {
    /// What a file of ours says of itself; [`rusqlite::Error::InvalidColumnType`] for one
    /// that says nothing.
    pub(crate) fn read(conn: &Connection) -> rusqlite::Result<Self> {
        conn.prepare_cached(schema::READ_LABEL)?.query_row([], |row| {
            let (batch, next_row) = (unsigned(row, 2)?, unsigned(row, 3)?.max(1));
            let position = Position { batch, next_row };
            Ok(Self { identity: row.get(0)?, epoch: row.get(1)?, position })
        })
    }

    /// Whether the file is where this writer left it. Rows that somebody added by hand
    /// are no matter.
    pub(crate) fn check_position(&self, there: &Self) -> Result<(), Fault> {
        let (left, found) = (self.position, there.position);
        match found.batch == left.batch && found.next_row >= left.next_row {
            true => Ok(()),
            false => Err(Fault::NotOurs(format!(
                "it is at batch {}, not at {}, where it was left",
                found.batch, left.batch
            ))),
        }
    }
}

/// A connection to a file of ours.
pub(crate) struct Opened {
    pub(crate) conn: Connection,
    pub(crate) id: FileId,
    pub(crate) label: Label,
}

/// Why there is no connection to a file of ours.
#[derive(Debug, Error)]
pub(crate) enum Unopened {
    #[error("nothing is there")]
    Absent,
    #[error("it is empty")]
    Empty,
    #[error("it was exchanged meanwhile")]
    Exchanged,
    #[error("{}", system(.0))]
    Io(#[from] std::io::Error),
    #[error("{}", worded(.0))]
    Sqlite(#[from] rusqlite::Error),
}

impl From<Unopened> for ReadError {
    fn from(unopened: Unopened) -> Self {
        match unopened {
            Unopened::Sqlite(error) => Self::Sqlite(error),
            other => Self::NotOurs(other.to_string()),
        }
    }
}

/// Opens the file at a path, and makes sure of which file that is: the same before and
/// after SQLite has opened it and its log, which it does with the first look. It leaves the
/// log where it is when it closes, unless it is told otherwise.
///
/// An empty one is not shown to SQLite, which would remove the log beside it as one that was
/// left behind: by then the log may be that of the file that its writer has put in place.
pub(crate) fn open_labelled(
    system: &dyn System,
    path: &Path,
    open: impl FnOnce() -> rusqlite::Result<Connection>,
) -> Result<Opened, Unopened> {
    let id = match system.stat(path)? {
        Some(there) if there.len == 0 => return Err(Unopened::Empty),
        Some(there) => there.id,
        None => return Err(Unopened::Absent),
    };
    let conn = open()?;
    // Whoever closes it knows whether its log still has its own name.
    keep_log_on_close(&conn, true)?;
    let label = Label::read(&conn)?;
    match system.stat(path)? {
        Some(there) if there.id == id => Ok(Opened { conn, id, label }),
        _ => Err(Unopened::Exchanged),
    }
}

/// Which file a store reads and writes: what its readers open must be that one.
#[derive(Default)]
pub(crate) struct Known(Mutex<Option<(FileId, Identity)>>);

impl Known {
    /// Notes which file it is from here on, and gives which it was.
    pub(crate) fn set(&self, id: FileId, identity: Identity) -> Option<(FileId, Identity)> {
        self.0.lock().replace((id, identity))
    }

    pub(crate) fn is(&self, id: FileId, identity: Identity) -> bool {
        *self.0.lock() == Some((id, identity))
    }
}
