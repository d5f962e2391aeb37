//! What can still be read of a damaged file, into a new one.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use rusqlite::params;

use super::{
    AdminError, Condition, Progress, Row,
    access::Held,
    copy::{drafted, free_place, put, replace},
    rows::Rows,
    source::{Source, absolute},
};
use crate::{
    file::{
        self,
        insert::Insert,
        schema::{self, Position},
    },
    system::System,
};

const PIECE: usize = 512;

/// What was read, and what was not.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Salvaged {
    /// Shapes that are in the new file.
    pub shapes: u64,
    /// Shapes of which the row or the definition is not what was written.
    pub damaged: u64,
    /// Shapes whose definition cannot be read.
    pub unreadable: u64,
    /// Shapes without a definition.
    pub bodiless: u64,
    /// Shapes that were to be left out.
    pub left_out: u64,
    /// Shapes that repeat another one's handle or are equal to it.
    pub repeated: u64,
    /// Ids at which nothing could be read: whether there was a shape is not known.
    pub unreadable_ids: u64,
    /// Where the file that was mended is now.
    pub kept: Option<PathBuf>,
}

/// Writes what can be read of a file into a new one, without the rows of these ids.
pub fn salvage(
    system: &dyn System,
    from: &Path,
    to: &Path,
    leave_out: &HashSet<i64>,
    progress: Progress<'_>,
) -> Result<Salvaged, AdminError> {
    let source = Source::open_damaged(system, from)?;
    let to = free_place(system, to)?;
    let draft = file::draft_of(&to);
    let salvaged = write(system, &source, &draft, leave_out, progress)?;
    put(system, &draft, &to)?;
    Ok(salvaged)
}

/// Puts what can be read of a file in its place. The file itself is kept, as it is.
pub fn repair(
    system: &dyn System,
    path: &Path,
    leave_out: &HashSet<i64>,
    progress: Progress<'_>,
) -> Result<Salvaged, AdminError> {
    let path = absolute(system, path)?;
    let salvaged = {
        let source = Source::open_damaged(system, &path)?;
        if source.is_old() {
            let reason = "it has schema 4: salvage it into a new file";
            return Err(AdminError::unusable(&path, reason));
        }
        write(system, &source, &file::draft_of(&path), leave_out, progress)?
    };
    // Between the two somebody may have opened it: then nothing was changed.
    let _held = Held::to_replace(system, &path)?;
    let kept = replace(system, &path, "before-repair")?;
    Ok(Salvaged { kept, ..salvaged })
}

fn write(
    system: &dyn System,
    source: &Source,
    draft: &Path,
    leave_out: &HashSet<i64>,
    progress: Progress<'_>,
) -> Result<Salvaged, AdminError> {
    drafted(system, draft, |conn| {
        let mut done = Salvaged::default();
        let mut rows = Rows::of(source);
        let failed = AdminError::sqlite(draft);
        conn.pragma_update(None, "page_size", schema::PAGE_SIZE).map_err(&failed)?;
        conn.pragma_update(None, "journal_mode", "OFF").map_err(&failed)?;
        let tx = conn.transaction().map_err(&failed)?;
        schema::create(&tx, system.random().to_le_bytes()).map_err(&failed)?;
        let mut insert = Insert::new(&tx).map_err(&failed)?;
        let (mut handles, mut digests) = (HashSet::new(), HashSet::new());
        let mut seen = 0;
        loop {
            let piece = rows.next(&source.conn, PIECE).map_err(source.failed())?;
            if piece.is_empty() && rows.is_done() {
                break;
            }
            for row in piece {
                seen += 1;
                if !count(&row, leave_out, &mut done) {
                    continue;
                }
                if handles.contains(&row.handle) || digests.contains(&row.digest) {
                    done.repeated += 1;
                    continue;
                }
                let next = (done.shapes + 1) as i64;
                let Some(entry) = row.entry(next) else {
                    done.damaged += 1;
                    continue;
                };
                insert.shape(&entry, entry.snapshot).map_err(&failed)?;
                insert.body(&entry, &row.body).map_err(&failed)?;
                handles.insert(row.handle);
                digests.insert(row.digest);
                done.shapes += 1;
            }
            progress(seen, seen);
        }
        drop(insert);
        done.unreadable_ids = rows.unreadable_ids;
        label(source, &tx, done.shapes).map_err(&failed)?;
        tx.commit().map_err(&failed)?;
        Ok(done)
    })
}

/// Counts a row; whether it is to be written.
fn count(row: &Row, leave_out: &HashSet<i64>, done: &mut Salvaged) -> bool {
    let counter = match row.condition {
        _ if leave_out.contains(&row.id) => &mut done.left_out,
        Condition::Sound | Condition::Unverified => return true,
        Condition::Damaged => &mut done.damaged,
        Condition::Unreadable => &mut done.unreadable,
        Condition::Bodiless => &mut done.bodiless,
    };
    *counter += 1;
    false
}

/// What can be known of whose the file was, and how far it was written.
fn label(source: &Source, tx: &rusqlite::Transaction<'_>, shapes: u64) -> rusqlite::Result<()> {
    let position = schema::read_position(&source.conn);
    let Position { batch, next_row } =
        position.unwrap_or(Position { batch: 0, next_row: shapes + 1 });
    let epoch = schema::read_meta_number(&source.conn, "epoch").unwrap_or(0);
    let stack = schema::read_meta_bytes(&source.conn, "stack").ok().flatten().unwrap_or_default();
    schema::write_meta(tx, "epoch", epoch)?;
    schema::write_meta(tx, "stack", String::from_utf8_lossy(&stack))?;
    // Without it the flags are computed anew by the next writer that has a version of them.
    if let Ok(Some(version)) = schema::read_flags_version(&source.conn) {
        schema::write_meta(tx, schema::FLAGS_VERSION, version)?;
    }
    let next_row = next_row.max(shapes + 1);
    let values = params![batch as i64, next_row as i64];
    tx.execute("UPDATE main.changes SET batch = ?1, next_row = ?2", values).map(drop)
}
