//! Getting the file ready: found, checked, made, taken over or moved aside.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use tracing::{info, warn};

use crate::{
    batch::is_damage,
    connection,
    error::OpenError,
    file,
    import::{self, Imported, Verify},
    options::{Location, Options, Source, Synchronous},
    schema,
};

/// A database that is ready, and how it came to be so.
pub(crate) struct Ready {
    pub(crate) conn: Connection,
    pub(crate) imported: Option<(PathBuf, Imported)>,
    pub(crate) quarantined: Option<PathBuf>,
}

/// Opens the database, making it or taking an older one over when it is not
/// there. `alone` says that no other process has it: only then is it checked,
/// and moved aside when it is bad.
pub(crate) fn prepare(
    options: &Options,
    alone: bool,
    verify: &mut Verify,
) -> Result<Ready, OpenError> {
    let path = match &options.location {
        Location::Memory => {
            let conn = open(options, Path::new(":memory:"))?;
            return Ok(Ready { conn, imported: None, quarantined: None });
        }
        Location::File(path) => path,
    };
    let found = if alone { inspect(options, path)? } else { Found::Sound };
    let quarantined = match &found {
        Found::Bad(problem) => Some(move_aside(path, problem)?),
        Found::Nothing | Found::Sound => None,
    };
    if matches!(found, Found::Nothing)
        && let Some(source) = import::first_present(&options.sources)
    {
        let (conn, imported) = take_over(options, path, source, verify)?;
        return Ok(Ready { conn, imported: Some((source.path.clone(), imported)), quarantined });
    }
    let conn = open(options, path)?;
    import::finish_import(&conn)?;
    Ok(Ready { conn, imported: None, quarantined })
}

/// What is in our file's place.
enum Found {
    /// No file, or one without tables.
    Nothing,
    Sound,
    /// Something else, or ours no more, for this reason.
    Bad(String),
}

/// An error is one of the surroundings: no permission, no disk.
fn inspect(options: &Options, path: &Path) -> Result<Found, OpenError> {
    if path.is_dir() {
        return Ok(Found::Bad("it is a directory".into()));
    }
    if !path.exists() {
        return Ok(Found::Nothing);
    }
    let checked = connection::open_writer(options).and_then(|conn| check(&conn));
    checked.or_else(|error| match is_damage(&error) {
        true => Ok(Found::Bad(error.to_string())),
        false => Err(OpenError::Sqlite { path: path.to_path_buf(), source: error }),
    })
}

fn check(conn: &Connection) -> rusqlite::Result<Found> {
    let version = schema::read_version(conn)?;
    if version == 0 {
        let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
        return Ok(match tables {
            0 => Found::Nothing,
            _ => Found::Bad("its tables are not ours".into()),
        });
    }
    if version != schema::SCHEMA_VERSION {
        return Ok(Found::Bad(format!("its schema version is {version}")));
    }
    let unprepared = schema::STATEMENTS.iter().find_map(|(_, sql)| conn.prepare(sql).err());
    if let Some(error) = unprepared {
        return match error.sqlite_error_code() {
            Some(ErrorCode::Unknown) | None => Ok(Found::Bad(error.to_string())),
            _ => Err(error),
        };
    }
    if schema::read_meta_number(conn, "clean")? == 1 && is_whole(conn)? {
        return Ok(Found::Sound);
    }
    info!("checking a shape database that was not closed");
    let answer: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if answer != "ok" {
        return Ok(Found::Bad(answer));
    }
    // Trees that are each sound need not belong to one moment.
    let halves = conn.execute(schema::DELETE_BODILESS, [])?;
    if halves > 0 {
        warn!(shapes = halves, "left out shapes whose bodies were lost");
    }
    Ok(Found::Sound)
}

/// Whether the file is as long as it says: one that was cut off within its last
/// page looks sound to SQLite until that page is read.
fn is_whole(conn: &Connection) -> rusqlite::Result<bool> {
    let number = |sql| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
    let said = number("PRAGMA page_count")? * number("PRAGMA page_size")?;
    let found = conn.path().and_then(|path| std::fs::metadata(path).ok());
    Ok(found.is_some_and(|found| i64::try_from(found.len()) == Ok(said)))
}

/// Moves aside a database that passed for sound and turned out to be damaged, and
/// makes an empty one.
pub(crate) fn start_empty(
    options: &Options,
    path: &Path,
    problem: &str,
) -> Result<(Connection, PathBuf), OpenError> {
    let quarantined = move_aside(path, problem)?;
    Ok((open(options, path)?, quarantined))
}

fn move_aside(path: &Path, problem: &str) -> Result<PathBuf, OpenError> {
    let to = file::quarantine(path)?;
    warn!(
        from = %path.display(), to = %to.display(), %problem,
        "moved a shape database aside that cannot be used, starting empty"
    );
    Ok(to)
}

/// Opens a database that is sound or not there, and makes its tables if it has
/// none.
fn open(options: &Options, path: &Path) -> Result<Connection, OpenError> {
    let named = |source| OpenError::Sqlite { path: path.to_path_buf(), source };
    let conn = connection::open_writer(options).map_err(named)?;
    create_if_empty(&conn).map_err(named)?;
    Ok(conn)
}

fn create_if_empty(conn: &Connection) -> rusqlite::Result<()> {
    // Looked at without the lock first: a writer that is there may hold it long.
    if schema::read_version(conn)? != 0 {
        return Ok(());
    }
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    if schema::read_version(&tx)? == 0 {
        schema::create(&tx)?;
    }
    tx.commit()
}

/// Makes ours out of an older file, in one transaction, then renames the older
/// one. When that fails nothing of ours stays behind.
fn take_over(
    options: &Options,
    path: &Path,
    source: &Source,
    verify: &mut Verify,
) -> Result<(Connection, Imported), OpenError> {
    info!(from = %source.path.display(), to = %path.display(), "taking over an older shape database");
    match copy(options, path, source, verify) {
        Ok((conn, imported)) => {
            import::finish_import(&conn)?;
            info!(
                from = %source.path.display(), shapes = imported.shapes,
                left_out = imported.left_out, "took over an older shape database"
            );
            Ok((conn, imported))
        }
        Err(error) => {
            // What cannot be removed is an empty database of ours: its transaction
            // did not commit.
            let _ = file::remove_database(path);
            Err(error)
        }
    }
}

fn copy(
    options: &Options,
    path: &Path,
    source: &Source,
    verify: &mut Verify,
) -> Result<(Connection, Imported), OpenError> {
    let named = |source| OpenError::Sqlite { path: path.to_path_buf(), source };
    let conn = connection::open_writer(options).map_err(named)?;
    // Ours has to be on the disk before the older one is renamed, whatever the
    // store is content with afterwards.
    conn.pragma_update(None, "synchronous", connection::synchronous(options, Synchronous::Full))
        .map_err(named)?;
    let tx = Transaction::new_unchecked(&conn, TransactionBehavior::Immediate).map_err(named)?;
    schema::create(&tx).map_err(named)?;
    let imported = import::import(&tx, source, verify)?;
    schema::write_meta(&tx, import::IMPORTED_FROM, import::noted(&source.path)).map_err(named)?;
    tx.commit().map_err(named)?;
    let usual = connection::synchronous(options, options.synchronous);
    conn.pragma_update(None, "synchronous", usual).map_err(named)?;
    Ok((conn, imported))
}
