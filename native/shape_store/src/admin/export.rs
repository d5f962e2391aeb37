//! Back to the schema of the service that this library replaces a part of.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use rusqlite::params;

use super::{
    Access, AdminError, Progress,
    copy::{drafted, free_place, put},
    rows::Rows,
    source::Source,
};
use crate::{entry::Digest, file, system::System};

const PIECE: usize = 512;

/// As the service makes them, with its indices.
const TABLES: &str = "
    CREATE TABLE shapes (
      handle BLOB NOT NULL,
      shape BLOB NOT NULL,
      comparable BLOB NOT NULL,
      hash INTEGER NOT NULL,
      snapshot_complete INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE relations (
      handle BLOB NOT NULL,
      oid INTEGER NOT NULL,
      UNIQUE (handle, oid)
    ) STRICT;
    CREATE TABLE shape_count (
      id INTEGER NOT NULL,
      count INTEGER DEFAULT 0
    ) STRICT;
";
const INDICES: &str = "
    CREATE UNIQUE INDEX shapes_handle_idx ON shapes (handle);
    CREATE UNIQUE INDEX shapes_comparable_idx ON shapes (comparable);
    CREATE INDEX shapes_comparable_cover_idx ON shapes (comparable, handle);
    CREATE INDEX shapes_handle_cover_idx ON shapes (handle, shape, hash, snapshot_complete);
    CREATE INDEX shapes_snapshot_idx ON shapes (snapshot_complete, handle);
    CREATE INDEX relation_oid_idx ON relations (oid, handle);
    CREATE INDEX relation_handle_idx ON relations (handle);
    INSERT INTO shape_count SELECT 1, count(*) FROM shapes;
    PRAGMA user_version = 4;
";

/// What is in the new file.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Exported {
    /// Shapes.
    pub shapes: u64,
    /// Shapes that are damaged, or were to be left out.
    pub left_out: u64,
    /// Ids at which nothing could be read: whether there was a shape is not known.
    pub unreadable_ids: u64,
}

/// Rows, by id, that are not written as they are.
#[derive(Default, Debug)]
pub struct Exceptions {
    /// Those to leave out.
    pub leave_out: HashSet<i64>,
    /// Digests to write in place of ours, where that service computes others.
    pub digests: HashMap<i64, Digest>,
}

/// Writes the shapes of a file into a new one of schema 4, but for these rows. A file of
/// which none can be written is refused: an empty one would be taken for all there was.
pub fn export(
    system: &dyn System,
    from: &Path,
    to: &Path,
    access: Access,
    exceptions: &Exceptions,
    progress: Progress<'_>,
) -> Result<Exported, AdminError> {
    let source = Source::open(system, from, access)?;
    let to = free_place(system, to)?;
    let draft = file::draft_of(&to);
    let exported = write(system, &source, &draft, exceptions, progress)?;
    put(system, &draft, &to)?;
    Ok(exported)
}

fn write(
    system: &dyn System,
    source: &Source,
    draft: &Path,
    exceptions: &Exceptions,
    progress: Progress<'_>,
) -> Result<Exported, AdminError> {
    let moment = source.conn.unchecked_transaction().map_err(source.failed())?;
    drafted(system, draft, |conn| {
        let failed = AdminError::sqlite(draft);
        conn.pragma_update(None, "journal_mode", "OFF").map_err(&failed)?;
        let tx = conn.transaction().map_err(&failed)?;
        tx.execute_batch(TABLES).map_err(&failed)?;
        let mut done = Exported::default();
        let mut rows = Rows::of(source);
        let mut shape =
            tx.prepare("INSERT INTO shapes VALUES (?1, ?2, ?3, ?4, ?5)").map_err(&failed)?;
        let mut relation = tx.prepare("INSERT INTO relations VALUES (?1, ?2)").map_err(&failed)?;
        loop {
            let piece = rows.next(&moment, PIECE).map_err(source.failed())?;
            if piece.is_empty() && rows.is_done() {
                break;
            }
            for row in piece {
                if exceptions.leave_out.contains(&row.id) || !row.is_usable() {
                    done.left_out += 1;
                    continue;
                }
                // What is not complete is begun again, as after any start of that service.
                let complete = i64::from(row.snapshot == 2);
                let digest = exceptions.digests.get(&row.id).map(|digest| digest.0.as_slice());
                let digest = digest.unwrap_or(&row.digest);
                shape
                    .execute(params![row.handle, row.body, digest, row.hash, complete])
                    .map_err(&failed)?;
                for oid in &row.oids {
                    relation.execute(params![row.handle, oid]).map_err(&failed)?;
                }
                done.shapes += 1;
            }
            progress(done.shapes, done.shapes);
        }
        drop((shape, relation));
        done.unreadable_ids = rows.unreadable_ids;
        if done.shapes == 0 && done.left_out + done.unreadable_ids > 0 {
            let reason = "none of its shapes can be read and is whole: salvage it".into();
            return Err(AdminError::Damaged { path: source.path.clone(), reason });
        }
        tx.execute_batch(INDICES).map_err(&failed)?;
        tx.commit().map_err(&failed)?;
        Ok(done)
    })
}
