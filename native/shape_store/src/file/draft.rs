//! The file written anew from memory, beside the one there is.

use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::{
    cache::body::Body,
    entry::Entry,
    error::OpenError,
    file::{
        self, Label, ages::Ages, connection, fault::is_damage, insert::Insert, row::read_body,
        schema,
    },
    index::slab::EntryId,
    shared::Shared,
};

/// What a draft has, and what it lacks.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) shapes: usize,
    /// Shapes whose bodies were nowhere to be had.
    pub(crate) lost: Vec<(EntryId, Entry)>,
}

/// Where bodies come from that are not in memory.
pub(crate) struct BodySource<'a> {
    /// The file that is to be replaced, as far as it can be read.
    pub(crate) conn: Option<&'a Connection>,
    /// Whether a body that cannot be read for now is waited for: an error of the disk may
    /// pass, and damage does not.
    pub(crate) patient: bool,
}

/// Writes every committed shape of the index into a draft beside `path`, in one synced
/// transaction: bodies come from memory or from the source. What is queued comes after, by
/// its own commits. After an error it may be called again.
pub(crate) fn write_draft(
    shared: &Shared,
    path: &Path,
    label: Label,
    source: &BodySource<'_>,
) -> Result<Draft, OpenError> {
    let draft = file::draft_of(path);
    let named = |source| OpenError::Sqlite { path: draft.clone(), source };
    // What a try before this one left.
    file::remove_database(&*shared.options.system, &draft)?;
    let conn = connection::create_beside(&draft, &shared.options).map_err(named)?;
    let written = fill(shared, &conn, label, source).map_err(named);
    if written.is_err() {
        drop(conn);
        // What stays is removed by the next try.
        let _ = file::remove_database(&*shared.options.system, &draft);
    }
    written
}

fn fill(
    shared: &Shared,
    conn: &Connection,
    label: Label,
    source: &BodySource<'_>,
) -> rusqlite::Result<Draft> {
    let mut draft = Draft { shapes: 0, lost: Vec::new() };
    let mut buffer = Vec::new();
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    schema::create(&tx, label.identity)?;
    let mut insert = Insert::new(conn)?;
    let ids = shared.queue.lock().mutator.used();
    for id in ids {
        let Some(entry) = shared.index.get(id) else { continue };
        if shared.pending.holds(entry.row) {
            continue;
        }
        match body(shared, source, &entry)? {
            Some(body) => {
                let mutator = &mut shared.queue.lock().mutator;
                let saved = shared.index.saved_snapshot(mutator, id, entry.row);
                insert.shape(&entry, saved.unwrap_or(entry.snapshot))?;
                insert.body(&entry, shared.dictionary.unpack(&body, &mut buffer))?;
                draft.shapes += 1;
            }
            None => draft.lost.push((id, entry)),
        }
    }
    drop(insert);
    schema::write_meta(&tx, "epoch", label.epoch)?;
    schema::write_meta(&tx, "stack", &shared.options.stack)?;
    schema::write_meta(&tx, "clean", 0)?;
    if let Some(version) = shared.index.flags.version() {
        schema::write_meta(&tx, schema::FLAGS_VERSION, version)?;
    }
    if shared.options.keep_ages {
        Ages::of(shared).write(&tx)?;
    }
    schema::write_meta(&tx, "unsettled", shared.options.max_pending.ops as i64)?;
    tx.execute(
        "UPDATE main.changes SET batch = ?1, next_row = ?2",
        params![label.position.batch as i64, label.position.next_row as i64],
    )?;
    tx.commit()?;
    Ok(draft)
}

fn body(shared: &Shared, source: &BodySource<'_>, entry: &Entry) -> rusqlite::Result<Option<Body>> {
    if let Some(body) = shared.cache.get(entry.row) {
        return Ok(Some(body));
    }
    let Some(conn) = source.conn else { return Ok(None) };
    match read_body(conn, entry) {
        Ok(stored) => Ok(stored.whole()),
        Err(error) if source.patient && !is_damage(&error) => Err(error),
        Err(_) => Ok(None),
    }
}
