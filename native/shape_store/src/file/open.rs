//! Getting the file ready at a start: made, taken over or moved aside. Whether what is there
//! is sound is found out in `integrity.rs`.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tracing::{info, warn};

use crate::{
    error::OpenError,
    error_text::worded,
    file::{
        self, Label, connection,
        fault::is_damage,
        import::{self, Imported, Verify},
        integrity::{Inspected, Made, inspect},
        schema,
    },
    options::{Options, Source, Synchronous},
};

/// A database that is ready, and how it came to be so.
pub(crate) struct Ready {
    pub(crate) made: Made,
    pub(crate) imported: Option<(PathBuf, Imported)>,
    pub(crate) quarantined: Option<PathBuf>,
}

/// Opens the database, making it or taking an older one over when it is not there. A bad
/// one is moved aside. No other process has it, and none begins to.
pub(crate) fn prepare(
    options: &Options,
    path: &Path,
    verify: &mut Verify,
) -> Result<Ready, OpenError> {
    let system = &*options.system;
    may_write(options, path)?;
    let replacement = file::replacement_of(path);
    let begun = system.stat(&replacement).map_err(|source| OpenError::Io {
        what: "look at",
        path: replacement,
        source,
    })?;
    if begun.is_some() {
        // What a later version began is for that one to finish.
        check_version(options, path)?;
    }
    let replaced = file::finish_replacement(system, path)?;
    let found = match inspect(options, path) {
        Err(OpenError::Sqlite { source, .. }) if options.exclusive && has_no_maps(&source) => {
            leave_log(options, path)?;
            inspect(options, path)?
        }
        found => found?,
    };
    let quarantined = match &found {
        Inspected::Bad(problem) => Some(move_aside(options, path, problem)?),
        Inspected::Newer(version) => return Err(newer(path, *version)),
        Inspected::Nothing | Inspected::Clean(_) | Inspected::Sound => replaced,
    };
    if matches!(found, Inspected::Nothing)
        && let Some(source) = import::first_present(&options.sources)
    {
        let (made, imported) = take_over(options, path, source, verify)?;
        return Ok(Ready { made, imported: Some((source.path.clone(), imported)), quarantined });
    }
    let made = match found {
        Inspected::Clean(made) => go_on_with(made, options, path),
        _ => create_if_missing(options, path),
    };
    let (made, aside) = match made {
        Ok(made) => (made, None),
        // It passed for one without tables.
        Err(OpenError::Sqlite { source, .. }) if is_damage(&source) => {
            let (made, aside) = start_empty(options, path, &worded(&source).to_string())?;
            (made, Some(aside))
        }
        Err(error) => return Err(error),
    };
    import::finish_import(options, &made.conn)?;
    Ok(Ready { made, imported: None, quarantined: quarantined.or(aside) })
}

/// Makes the database of a store in memory.
pub(crate) fn prepare_memory(options: &Options) -> rusqlite::Result<Connection> {
    let conn = connection::open_to_write(Path::new(connection::MEMORY), options)?;
    connection::prepare_new(&conn, options)?;
    create_tables(&conn, options)?;
    Ok(conn)
}

/// Whether a file with a write-ahead log is where nothing can be mapped into memory.
fn has_no_maps(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    code == Some(rusqlite::ffi::SQLITE_IOERR_SHMMAP)
}

/// Has a file that was written elsewhere with a write-ahead log, or whose store was to have
/// one, journalled as exclusive mode does. Alone, SQLite needs no memory in common for that.
fn leave_log(options: &Options, path: &Path) -> Result<(), OpenError> {
    let named = |source| OpenError::Sqlite { path: path.to_path_buf(), source };
    let conn = connection::open_to_write(path, options).map_err(named)?;
    conn.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(named)?;
    let version = schema::read_version(&conn).map_err(named)?;
    if version > schema::SCHEMA_VERSION {
        return Err(newer(path, version));
    }
    connection::prepare_to_write(&conn, options).map_err(named)
}

/// Whether nobody has written to a database since it was made.
fn is_new(conn: &Connection) -> rusqlite::Result<bool> {
    let label = Label::read(conn)?;
    Ok((label.epoch, label.position) == (0, schema::Position { batch: 0, next_row: 1 }))
}

/// An error for a file that another instance writes and this one may not follow: it is of a
/// later version of this library, or this process may not write to it.
pub(crate) fn may_follow(options: &Options, path: &Path) -> Result<(), OpenError> {
    may_write(options, path)?;
    check_version(options, path)
}

/// SQLite would make a log that cannot be written either, and leave that behind.
fn may_write(options: &Options, path: &Path) -> Result<(), OpenError> {
    if !has_content(options, path) {
        return Ok(());
    }
    options.system.may_write(path).map_err(|source| OpenError::Io {
        what: "write to",
        path: path.to_path_buf(),
        source,
    })
}

/// An error for a file of a later version, which nothing is to be done to.
fn check_version(options: &Options, path: &Path) -> Result<(), OpenError> {
    // An empty one is of no version, and to open it would cost the log beside it.
    if !has_content(options, path) {
        return Ok(());
    }
    match connection::open_to_read(path, options).and_then(|conn| schema::read_version(&conn)) {
        Ok(version) if version > schema::SCHEMA_VERSION => Err(newer(path, version)),
        // Not a database, or not to be read: that is looked into next.
        _ => Ok(()),
    }
}

fn has_content(options: &Options, path: &Path) -> bool {
    matches!(options.system.stat(path), Ok(Some(there)) if there.len > 0)
}

fn newer(path: &Path, version: i64) -> OpenError {
    OpenError::Newer { path: path.to_path_buf(), version, known: schema::SCHEMA_VERSION }
}

/// Moves aside a database that passed for sound and turned out to be damaged, and
/// makes an empty one.
pub(crate) fn start_empty(
    options: &Options,
    path: &Path,
    problem: &str,
) -> Result<(Made, PathBuf), OpenError> {
    let quarantined = move_aside(options, path, problem)?;
    Ok((create_if_missing(options, path)?, quarantined))
}

fn move_aside(options: &Options, path: &Path, problem: &str) -> Result<PathBuf, OpenError> {
    let to = file::quarantine(&*options.system, path)?;
    warn!(
        from = %path.display(), to = %to.display(), %problem,
        "moved a shape database aside that cannot be used, starting empty"
    );
    Ok(to)
}

/// Opens a database that is sound or not there, and makes its tables if it has
/// none.
fn create_if_missing(options: &Options, path: &Path) -> Result<Made, OpenError> {
    let named = |source| OpenError::Sqlite { path: path.to_path_buf(), source };
    let made = create(options, path)?;
    create_tables(&made.conn, options).map_err(named)?;
    Ok(made)
}

/// Sets what was opened to look at a database up for writing it.
fn go_on_with(made: Made, options: &Options, path: &Path) -> Result<Made, OpenError> {
    let named = |source| OpenError::Sqlite { path: path.to_path_buf(), source };
    check_name(&made, options, path)?;
    connection::prepare_to_write(&made.conn, options).map_err(named)?;
    Ok(made)
}

/// Whether the name is still that of the file which was there before SQLite opened it.
fn check_name(made: &Made, options: &Options, path: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Io { what: "look at", path: path.to_path_buf(), source };
    match options.system.stat(path).map_err(failed)? {
        Some(there) if there.id == made.anchor.id() => Ok(()),
        _ => Err(OpenError::Exchanged { path: path.to_path_buf() }),
    }
}

/// Opens a database that may not be there yet. Which file that is has to be known: the name
/// may be another's at any time, and a log that is written under it then be taken for that
/// one's. So the file is there before SQLite opens it, and is compared after.
fn create(options: &Options, path: &Path) -> Result<Made, OpenError> {
    let named = |source| OpenError::Sqlite { path: path.to_path_buf(), source };
    let failed = |source| OpenError::Io { what: "make", path: path.to_path_buf(), source };
    let system = &*options.system;
    if system.stat(path).map_err(failed)?.is_none() {
        match options.external_checkpoint {
            true => put_whole(options, path)?,
            false => system.append(path, &[]).map_err(failed)?,
        }
    }
    let anchor = system.anchor(path).map_err(failed)?;
    let conn = connection::open_to_write(path, options).map_err(named)?;
    connection::keep_log_on_close(&conn, true).map_err(named)?;
    let made = Made { conn, anchor };
    check_name(&made, options, path)?;
    connection::prepare_new(&made.conn, options).map_err(named)?;
    Ok(made)
}

/// Puts an empty database in place, with its tables and its way of journalling. Who
/// replicates whatever has the name would otherwise make tables of its own in an empty file,
/// with pages of another size, or replicate one that is no shape database yet.
fn put_whole(options: &Options, path: &Path) -> Result<(), OpenError> {
    let draft = file::draft_of(path);
    let named = |source| OpenError::Sqlite { path: draft.clone(), source };
    file::remove_database(&*options.system, &draft)?;
    let conn = connection::create_beside(&draft, options).map_err(named)?;
    create_tables(&conn, options).map_err(named)?;
    connection::end_with_log(conn, options).map_err(named)?;
    file::begin_replacement(&*options.system, path)?;
    file::finish_replacement(&*options.system, path).map(drop)
}

fn create_tables(conn: &Connection, options: &Options) -> rusqlite::Result<()> {
    if schema::read_version(conn)? != 0 {
        return Ok(());
    }
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    // Another instance, which cannot be seen where the file system cannot lock, may have made
    // them while this one waited.
    if schema::read_version(&tx)? != 0 {
        return Ok(());
    }
    schema::create(&tx, options.system.random().to_le_bytes())?;
    schema::write_meta(&tx, "stack", &options.stack)?;
    tx.commit()
}

/// Makes ours out of an older file, in one transaction, then renames the older
/// one. When that fails nothing of ours stays behind.
fn take_over(
    options: &Options,
    path: &Path,
    source: &Source,
    verify: &mut Verify,
) -> Result<(Made, Imported), OpenError> {
    info!(from = %source.path.display(), to = %path.display(), "taking over an older shape database");
    match copy(options, path, source, verify) {
        Ok((made, imported)) => {
            import::finish_import(options, &made.conn)?;
            info!(
                from = %source.path.display(), shapes = imported.shapes,
                left_out = imported.left_out, "took over an older shape database"
            );
            Ok((made, imported))
        }
        // What is there is another's.
        Err(error @ OpenError::Exchanged { .. }) => Err(error),
        Err(error) => {
            // What cannot be removed is an empty database of ours: its transaction
            // did not commit.
            let _ = file::remove_database(&*options.system, path);
            Err(error)
        }
    }
}

fn copy(
    options: &Options,
    path: &Path,
    source: &Source,
    verify: &mut Verify,
) -> Result<(Made, Imported), OpenError> {
    let named = |source| OpenError::Sqlite { path: path.to_path_buf(), source };
    let Made { conn, anchor } = create(options, path)?;
    // Ours has to be on the disk before the older one is renamed, whatever the
    // store is content with afterwards.
    conn.pragma_update(None, "synchronous", connection::synchronous(options, Synchronous::Full))
        .map_err(named)?;
    let tx = Transaction::new_unchecked(&conn, TransactionBehavior::Immediate).map_err(named)?;
    match schema::read_version(&tx).map_err(named)? {
        0 => schema::create(&tx, options.system.random().to_le_bytes()).map_err(named)?,
        _ if options.external_checkpoint && is_new(&tx).map_err(named)? => {}
        _ => return Err(OpenError::Exchanged { path: path.to_path_buf() }),
    }
    schema::write_meta(&tx, "stack", &options.stack).map_err(named)?;
    let imported = import::import(&tx, source, verify)?;
    schema::write_meta(&tx, import::IMPORTED_FROM, import::noted(&source.path)).map_err(named)?;
    tx.commit().map_err(named)?;
    let usual = connection::synchronous(options, options.synchronous);
    conn.pragma_update(None, "synchronous", usual).map_err(named)?;
    Ok((Made { conn, anchor }, imported))
}
