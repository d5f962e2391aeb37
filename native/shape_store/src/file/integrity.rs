//! Whether a file is ours, whole and sound.

use std::path::Path;

use rusqlite::Connection;
use tracing::{info, warn};

use crate::{
    error::OpenError,
    error_text::worded,
    file::{self, Label, connection, fault::is_damage, schema},
    options::Options,
    system::Anchor,
};

/// A connection to a database of ours, and which file that is.
pub(crate) struct Made {
    pub(crate) conn: Connection,
    pub(crate) anchor: Box<dyn Anchor>,
}

/// What is in our file's place.
pub(super) enum Inspected {
    /// No file, or one without tables.
    Nothing,
    /// Of this schema, which is a later one than ours.
    Newer(i64),
    /// Closed in order. What was opened to see that is what it is written by.
    Clean(Made),
    Sound,
    /// Something that is not a database of ours, or not a sound one, for this reason.
    Bad(String),
}

/// Looks at what is in our file's place. An error says that this could not be found out: no
/// permission, no disk.
pub(super) fn inspect(options: &Options, path: &Path) -> Result<Inspected, OpenError> {
    let failed = |source| OpenError::Io { what: "look at", path: path.to_path_buf(), source };
    match options.system.stat(path).map_err(failed)? {
        None => return Ok(Inspected::Nothing),
        Some(there) if there.folder => return Ok(Inspected::Bad("it is a directory".into())),
        Some(there) if there.len == 0 => {
            warn!(path = %path.display(), "an empty file is in the place of the shape database");
        }
        Some(_) => {}
    }
    let anchor = options.system.anchor(path).map_err(failed)?;
    let checked = connection::open_to_write(path, options)
        .and_then(|conn| check(Made { conn, anchor }, options, path))
        .or_else(|error| match is_damage(&error) {
            true => Ok(Inspected::Bad(worded(&error).to_string())),
            false => Err(OpenError::Sqlite { path: path.to_path_buf(), source: error }),
        })?;
    Ok(checked)
}

fn check(made: Made, options: &Options, path: &Path) -> rusqlite::Result<Inspected> {
    let conn = &made.conn;
    // With a file that is left alone its log is, too.
    connection::keep_log_on_close(conn, true)?;
    let version = schema::read_version(conn)?;
    if version > schema::SCHEMA_VERSION {
        return Ok(Inspected::Newer(version));
    }
    connection::keep_log_on_close(conn, options.external_checkpoint)?;
    if version == 0 {
        let sql = "SELECT count(*) FROM main.sqlite_schema";
        let tables: i64 = conn.query_row(sql, [], |row| row.get(0))?;
        return Ok(match tables {
            0 => Inspected::Nothing,
            _ => Inspected::Bad("its tables are not ours".into()),
        });
    }
    if version != schema::SCHEMA_VERSION {
        return Ok(Inspected::Bad(format!("its schema version is {version}")));
    }
    let unprepared = schema::STATEMENTS.iter().find_map(|(_, sql)| conn.prepare(sql).err());
    if let Some(error) = unprepared {
        return match is_damage(&error) {
            true => Ok(Inspected::Bad(worded(&error).to_string())),
            false => Err(error),
        };
    }
    Label::read(conn)?;
    if schema::read_meta_number(conn, "clean")? == 1 && is_whole(conn, options, path)? {
        // Its log is as good where it is, and to put it into the file waits for the disk.
        connection::keep_log_on_close(conn, true)?;
        return Ok(Inspected::Clean(made));
    }
    info!("checking a shape database that was not closed");
    let answer = quick_check(conn)?;
    if answer != "ok" {
        return Ok(Inspected::Bad(answer));
    }
    // Trees that are each sound need not belong to one moment.
    let halves = conn.execute(schema::DELETE_BODILESS, [])?;
    if halves > 0 {
        warn!(shapes = halves, "left out shapes whose bodies were lost");
    }
    Ok(Inspected::Sound)
}

/// What SQLite says to the whole file: `ok`, or what is wrong. A page that the disk does not
/// give for now is an error, and not what is wrong with the file.
pub(crate) fn quick_check(conn: &Connection) -> rusqlite::Result<String> {
    let answer: String = conn.query_row("PRAGMA main.quick_check(1)", [], |row| row.get(0))?;
    match passing_code(&answer) {
        Some(code) => {
            let error = rusqlite::ffi::Error::new(code);
            Err(rusqlite::Error::SqliteFailure(error, Some(answer)))
        }
        None => Ok(answer),
    }
}

/// The code in an answer that tells of a page which could not be read, if that may pass.
fn passing_code(answer: &str) -> Option<i32> {
    use rusqlite::ffi::{SQLITE_IOERR, SQLITE_IOERR_READ, SQLITE_IOERR_SHORT_READ, SQLITE_NOMEM};
    // Of a page in a chain it tells no code. That the page is one of the file was seen before,
    // so it is the disk that does not give it.
    if answer.contains("failed to get page") {
        return Some(SQLITE_IOERR_READ);
    }
    let (_, code) = answer.split_once("error code=")?;
    let digits = code.find(|c: char| !c.is_ascii_digit()).unwrap_or(code.len());
    let code: i32 = code.get(..digits)?.parse().ok()?;
    let passes = matches!(code & 0xff, SQLITE_IOERR | SQLITE_NOMEM);
    (passes && code != SQLITE_IOERR_SHORT_READ).then_some(code)
}

/// Whether the file is as long as it says: one that was cut off within its last
/// page looks sound to SQLite until that page is read. Where the log is another's to write
/// back, the last pages may be there alone.
pub(crate) fn is_whole(
    conn: &Connection,
    options: &Options,
    path: &Path,
) -> rusqlite::Result<bool> {
    let number = |sql| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
    let page = number("PRAGMA main.page_size")?;
    let said = number("PRAGMA main.page_count")? * page;
    let len = |path| {
        let found = options.system.stat(path).ok().flatten();
        found.and_then(|found| i64::try_from(found.len).ok())
    };
    Ok(match len(path) {
        Some(found) if found < said && options.external_checkpoint => {
            found % page == 0 && len(&file::log_of(path)).is_some_and(|log| log > 0)
        }
        found => found == Some(said),
    })
}
