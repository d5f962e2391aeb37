//! Copies of a database: a backup, its restoration, and a move to another place.

use std::{
    fs::File,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
};

use super::{
    Access, AdminError, Progress,
    access::Held,
    source::{Source, absolute},
};
use crate::{
    file::{self, beside, integrity::quick_check, schema},
    system::System,
};

/// Pages copied between two tellings.
const PAGES: i32 = 256;

/// How long a lock of a writer may keep a copy waiting.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);

/// What a copy has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copied {
    /// The schema.
    pub version: i64,
    /// Shapes.
    pub shapes: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// What was put in place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restored {
    /// What it has.
    pub copied: Copied,
    /// Where what had the name, or the place, is now.
    pub kept: Option<PathBuf>,
}

/// Copies a database, in use or not, to a file that is not there yet: one moment of it,
/// checked, synced, without a log, and closed in order.
pub fn backup(
    system: &dyn System,
    from: &Path,
    to: &Path,
    access: Access,
    progress: Progress<'_>,
) -> Result<Copied, AdminError> {
    let source = Source::open(system, from, access)?;
    let to = free_place(system, to)?;
    let draft = beside(&to, ".partial");
    let copied = copy(system, &source, &draft, progress)?;
    put(system, &draft, &to)?;
    Ok(copied)
}

/// Puts a copy in the place of a database that no store has. What is there is kept.
pub fn restore(
    system: &dyn System,
    from: &Path,
    to: &Path,
    progress: Progress<'_>,
) -> Result<Restored, AdminError> {
    let source = Source::open(system, from, Access::Alone)?;
    let to = absolute(system, to)?;
    if source.path == to {
        return Err(AdminError::unusable(&to, "it cannot be restored from itself"));
    }
    if source.is_old() {
        let reason = "it has schema 4: put it in its own place, and the store takes it over";
        return Err(AdminError::unusable(&source.path, reason));
    }
    let _held = Held::to_replace(system, &to)?;
    // What a crash left half done comes first, as for a store.
    file::finish_replacement(system, &to)?;
    let draft = file::draft_of(&to);
    let copied = copy(system, &source, &draft, progress)?;
    let kept = replace(system, &to, "replaced")?;
    Ok(Restored { copied, kept })
}

/// Moves a database that no store has to a place that is free. The one that was moved is
/// kept, under another name.
pub fn relocate(
    system: &dyn System,
    from: &Path,
    to: &Path,
    progress: Progress<'_>,
) -> Result<Restored, AdminError> {
    let to = free_place(system, to)?;
    let _there = Held::to_replace(system, &to)?;
    let source = Source::open(system, from, Access::Alone)?;
    let from = source.path.clone();
    let draft = file::draft_of(&to);
    let copied = copy(system, &source, &draft, progress)?;
    put(system, &draft, &to)?;
    // The connection before the name, the lock after it.
    let kept = file::aside(system, &from, "moved")?;
    file::rename_database(system, &from, &kept)?;
    file::sync_names(system, &from)?;
    drop(source);
    Ok(Restored { copied, kept: Some(kept) })
}

/// Puts a draft, whole and synced, in the place of a database, and gives where that is now.
/// From the first step on a crash leaves the draft as the database.
pub(super) fn replace(
    system: &dyn System,
    path: &Path,
    what: &str,
) -> Result<Option<PathBuf>, AdminError> {
    let there = system.stat(path).map_err(AdminError::io("look at", path))?.is_some();
    file::begin_replacement(system, path)?;
    let mut kept = None;
    if there {
        let aside = file::aside(system, path, what)?;
        file::rename_database(system, path, &aside)?;
        kept = Some(aside);
    }
    file::finish_replacement(system, path)?;
    Ok(kept)
}

/// The name of something that is to be made.
pub(super) fn free_place(system: &dyn System, path: &Path) -> Result<PathBuf, AdminError> {
    let path = absolute(system, path)?;
    for suffix in ["", "-wal", "-journal"] {
        let path = beside(&path, suffix);
        if system.stat(&path).map_err(AdminError::io("look at", &path))?.is_some() {
            return Err(AdminError::Exists { path });
        }
    }
    Ok(path)
}

/// Gives a whole draft its name.
pub(super) fn put(system: &dyn System, draft: &Path, to: &Path) -> Result<(), AdminError> {
    system.rename(draft, to).map_err(AdminError::io("rename", draft))?;
    Ok(file::sync_names(system, to)?)
}

/// Makes a draft, and leaves none that is not whole.
pub(super) fn drafted<T>(
    system: &dyn System,
    draft: &Path,
    make: impl FnOnce(&mut Connection) -> Result<T, AdminError>,
) -> Result<T, AdminError> {
    // What a try before this one left.
    file::remove_database(system, draft)?;
    let made = Connection::open_with_flags(
        draft,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(AdminError::sqlite(draft))
    .and_then(|mut conn| {
        conn.pragma_update(None, "synchronous", "OFF").map_err(AdminError::sqlite(draft))?;
        make(&mut conn)
    })
    // The connection is closed by now, and no store knows of the draft.
    .and_then(|made| {
        let synced = File::open(draft).and_then(|file| file.sync_all());
        synced.map_err(AdminError::io("sync", draft)).map(|()| made)
    });
    if made.is_err() {
        // What stays is removed by the next try.
        let _ = file::remove_database(system, draft);
    }
    made
}

fn copy(
    system: &dyn System,
    source: &Source,
    draft: &Path,
    progress: Progress<'_>,
) -> Result<Copied, AdminError> {
    drafted(system, draft, |conn| {
        copy_pages(source, conn, progress).map_err(AdminError::sqlite(draft))?;
        settle(source, conn, draft)
    })
}

fn copy_pages(
    source: &Source,
    to: &mut Connection,
    progress: Progress<'_>,
) -> rusqlite::Result<()> {
    // One moment: in a transaction the copy never has to begin again, however much is
    // written meanwhile.
    let moment = source.conn.unchecked_transaction()?;
    schema::read_version(&moment)?;
    let backup = Backup::new(&moment, to)?;
    let until = Instant::now() + PATIENCE;
    loop {
        let step = backup.step(PAGES)?;
        let at = backup.progress();
        let pages = |number: i32| u64::from(number.unsigned_abs());
        progress(pages(at.pagecount - at.remaining), pages(at.pagecount));
        match step {
            StepResult::Done => return Ok(()),
            StepResult::More => {}
            _ if Instant::now() < until => thread::sleep(PAUSE),
            _ => {
                let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
                return Err(rusqlite::Error::SqliteFailure(busy, None));
            }
        }
    }
}

/// A copy of a file in use says that it is in use.
fn settle(source: &Source, conn: &Connection, draft: &Path) -> Result<Copied, AdminError> {
    let failed = AdminError::sqlite(&source.path);
    let mode: String = conn
        .pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get(0))
        .map_err(&failed)?;
    if mode != "delete" {
        return Err(AdminError::unusable(draft, format!("its journal mode stays {mode}")));
    }
    // As it is copied, page by page, it is as sound as its source.
    let answer = quick_check(conn).map_err(&failed)?;
    if answer != "ok" {
        return Err(AdminError::Damaged { path: source.path.clone(), reason: answer });
    }
    if !source.is_old() {
        // No store has given row ids of the copy's that it does not tell of.
        schema::write_meta(conn, "clean", 1).map_err(&failed)?;
    }
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
    let shapes = number("SELECT count(*) FROM shapes").map_err(&failed)?;
    let pages = number("PRAGMA page_count").map_err(&failed)?;
    let size = number("PRAGMA page_size").map_err(&failed)?;
    Ok(Copied {
        version: source.version,
        shapes: shapes.unsigned_abs(),
        bytes: (pages * size).unsigned_abs(),
    })
}
