//! A sound file in the place of a corrupt one, written from memory.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params};
use tracing::error;

use crate::{
    body::Body,
    connection,
    entry::{Entry, Handle},
    error::OpenError,
    file,
    schema::{self, Insert, Position},
    shared::Shared,
    slab::EntryId,
};

/// What a rebuild gave.
pub(crate) struct Rebuilt {
    pub(crate) conn: Connection,
    pub(crate) shapes: usize,
    /// Shapes whose bodies were nowhere to be had.
    pub(crate) lost: Vec<(EntryId, Entry)>,
}

impl Rebuilt {
    pub(crate) fn lost_handles(&self) -> Vec<Handle> {
        self.lost.iter().map(|(_, entry)| entry.handle.clone()).collect()
    }
}

/// Writes every committed shape of the index into a new file, in one transaction:
/// bodies come from the cache, or from the corrupt file, which was moved aside, as
/// far as it can still be read. What is queued comes after, by its own commits.
///
/// The caller is the writer and has closed its connections. After an error it may
/// try again.
pub(crate) fn rebuild(
    shared: &Shared,
    path: &Path,
    corrupt: &Path,
    epoch: i64,
    position: Position,
) -> Result<Rebuilt, OpenError> {
    let named = |source| OpenError::Sqlite { path: path.to_path_buf(), source };
    // What a try before this one left.
    file::remove_database(path)?;
    let old = Connection::open_with_flags(
        corrupt,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    );
    let mut shapes = 0;
    let mut lost = Vec::new();
    let mut buffer = Vec::new();
    let conn = connection::open_writer(&shared.options).map_err(named)?;
    let tx = Transaction::new_unchecked(&conn, TransactionBehavior::Immediate).map_err(named)?;
    schema::create(&tx).map_err(named)?;
    let mut insert = Insert::new(&conn).map_err(named)?;
    let ids = shared.queue.lock().free.used();
    for id in ids {
        let Some(entry) = shared.index.get(id) else { continue };
        if shared.pending.holds(entry.row) {
            continue;
        }
        match body(shared, old.as_ref().ok(), &entry) {
            Some(body) => {
                insert.shape(&entry, entry.snapshot).map_err(named)?;
                let body = shared.dictionary.unpack(&body, &mut buffer);
                insert.body(entry.row, body).map_err(named)?;
                shapes += 1;
            }
            None => lost.push((id, entry)),
        }
    }
    drop(insert);
    schema::write_meta(&tx, "epoch", epoch).map_err(named)?;
    schema::write_meta(&tx, "clean", 0).map_err(named)?;
    if let Some(version) = shared.index.flags.version() {
        schema::write_meta(&tx, schema::FLAGS_VERSION, version).map_err(named)?;
    }
    tx.execute(
        "UPDATE changes SET batch = ?1, next_row = ?2",
        params![position.batch as i64, position.next_row as i64],
    )
    .map_err(named)?;
    tx.commit().map_err(named)?;
    for (_, entry) in &lost {
        let handle = String::from_utf8_lossy(&entry.handle);
        error!(%handle, "a shape was lost with the corrupt shape database");
    }
    Ok(Rebuilt { conn, shapes, lost })
}

fn body(shared: &Shared, old: Option<&Connection>, entry: &Entry) -> Option<Body> {
    let warm = shared.bodies.get(entry.row);
    // Whatever goes wrong with the old file, the body is not to be had there.
    warm.or_else(|| connection::read_body(old?, entry.row).ok().flatten())
}
