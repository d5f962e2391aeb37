//! A database opened to be read, and left as it is: log, journal and all.

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};

use super::{Access, AdminError, access::Held};
use crate::{
    error_text::worded,
    file::{beside, connection::keep_log_on_close, fault::is_damage, replacement_of, schema},
    system::System,
};

/// The schemas that can be read.
pub(crate) const OLD_VERSION: i64 = 4;

const JOURNALS: [&str; 2] = ["-wal", "-journal"];

/// An open database. The connection goes before what it reads, and the locks last.
pub(crate) struct Source {
    pub(crate) conn: Connection,
    pub(crate) path: PathBuf,
    pub(crate) version: i64,
    scratch: Option<Scratch>,
    damaged: bool,
    _held: Option<Held>,
}

impl Source {
    /// Opens a file of ours or of the replaced service.
    pub(crate) fn open(
        system: &dyn System,
        path: &Path,
        access: Access,
    ) -> Result<Self, AdminError> {
        let (path, held) = reach(system, path, access)?;
        let (conn, scratch) = connect(system, &path, access)?;
        let version = version_of(&conn, &path)?;
        Ok(Self { conn, path, version, scratch, damaged: false, _held: held })
    }

    /// The same for one whose first page may be damaged, in which SQLite keeps what it needs
    /// to find the rest: that page is made anew, in a copy.
    pub(crate) fn open_damaged(system: &dyn System, path: &Path) -> Result<Self, AdminError> {
        let (path, held) = reach(system, path, Access::Alone)?;
        let tried = connect(system, &path, Access::Alone).and_then(|(conn, scratch)| {
            let version = version_of(&conn, &path)?;
            // Reads the first page's table of tables.
            conn.prepare("SELECT 1 FROM shapes").map_err(AdminError::sqlite(&path))?;
            Ok((conn, scratch, version))
        });
        let (conn, scratch, version) = match tried {
            // What can be read and says that it is something else is not made ours.
            Err(AdminError::Damaged { .. }) => {
                let scratch = Scratch::of(system, &path)?;
                scratch.make_first_page()?;
                let conn = open(&scratch.file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
                conn.prepare("SELECT 1 FROM shapes").map_err(AdminError::sqlite(&path))?;
                (conn, Some(scratch), schema::SCHEMA_VERSION)
            }
            tried => tried?,
        };
        if scratch.is_some() {
            // So that the pages are where they belong. If they cannot be, the log has the rest.
            let _ = conn.query_row("PRAGMA main.wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
        Ok(Self { conn, path, version, scratch, damaged: true, _held: held })
    }

    /// The file whose pages may be looked through: of ours, with pages of our size, and of
    /// which nothing else is open.
    pub(crate) fn pages(&self) -> Option<PathBuf> {
        let size = self.conn.query_row("PRAGMA page_size", [], |row| row.get::<_, u32>(0));
        let ours = self.damaged && !self.is_old() && size == Ok(schema::PAGE_SIZE);
        let file = self.scratch.as_ref().map_or(&self.path, |scratch| &scratch.file);
        ours.then(|| file.clone())
    }

    pub(crate) fn is_old(&self) -> bool {
        self.version == OLD_VERSION
    }

    pub(crate) fn failed(&self) -> impl Fn(rusqlite::Error) -> AdminError + use<'_> {
        AdminError::sqlite(&self.path)
    }
}

/// A path that means the same wherever the process goes, without links, of what need not be
/// there. It is the name under which a store has claimed the file.
pub(crate) fn absolute(system: &dyn System, path: &Path) -> Result<PathBuf, AdminError> {
    let path = system.absolute(path).map_err(AdminError::io("find", path))?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    match system.stat(folder).map_err(AdminError::io("look at", folder))? {
        Some(there) if there.folder => system.resolve(&path).map_err(AdminError::io("find", &path)),
        Some(_) => Err(AdminError::unusable(&path, "what it is to lie in is no folder")),
        // To resolve it would make the folder.
        None => {
            let reason = format!("there is no folder {}", folder.display());
            Err(AdminError::unusable(&path, reason))
        }
    }
}

/// A database that has to be there, held if that is asked for.
fn reach(
    system: &dyn System,
    path: &Path,
    access: Access,
) -> Result<(PathBuf, Option<Held>), AdminError> {
    let path = absolute(system, path)?;
    match system.stat(&path).map_err(AdminError::io("look at", &path))? {
        None => return Err(AdminError::Absent { path }),
        Some(there) if there.folder => return Err(AdminError::unusable(&path, "it is a folder")),
        Some(there) if there.len == 0 => return Err(AdminError::unusable(&path, "it is empty")),
        Some(_) => {}
    }
    let held = match access {
        Access::Alone => Some(Held::to_read(system, &path)?),
        Access::Live => None,
    };
    let replacement = replacement_of(&path);
    let begun = system.stat(&replacement).map_err(AdminError::io("look at", &replacement))?;
    if access == Access::Alone && begun.is_some() {
        let reason = "a replacement of it was begun and not finished: start a stack on it once";
        return Err(AdminError::unusable(&path, reason));
    }
    Ok((path, held))
}

fn version_of(conn: &Connection, path: &Path) -> Result<i64, AdminError> {
    let version = schema::read_version(conn).map_err(AdminError::sqlite(path))?;
    match version {
        schema::SCHEMA_VERSION | OLD_VERSION => Ok(version),
        0 => Err(AdminError::unusable(path, "it is a database, and no shape database")),
        _ => {
            let known = schema::SCHEMA_VERSION;
            let text = format!("it has schema {version}, and this version knows 4 and {known}");
            Err(AdminError::unusable(path, text))
        }
    }
}

fn connect(
    system: &dyn System,
    path: &Path,
    access: Access,
) -> Result<(Connection, Option<Scratch>), AdminError> {
    if access == Access::Live {
        let conn = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        // The log is the store's to write back.
        keep_log_on_close(&conn, true).map_err(AdminError::sqlite(path))?;
        return Ok((conn, None));
    }
    let mut journals = false;
    for suffix in JOURNALS {
        let journal = beside(path, suffix);
        let there = system.stat(&journal).map_err(AdminError::io("look at", &journal))?;
        journals |= there.is_some_and(|there| there.len > 0);
    }
    if journals {
        // SQLite would write them back into the file, or make files beside it.
        let scratch = Scratch::of(system, path)?;
        let conn = open(&scratch.file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        return Ok((conn, Some(scratch)));
    }
    // Nobody changes it while it is held, and so it is read without a lock, log or shared
    // memory.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    open_as(path, &uri_of(path), flags).map(|conn| (conn, None))
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection, AdminError> {
    open_as(path, path, flags)
}

/// Opens a file under the name that SQLite is to know it by.
fn open_as(path: &Path, name: &Path, flags: OpenFlags) -> Result<Connection, AdminError> {
    let opened = Connection::open_with_flags(name, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX);
    let prepared = opened.and_then(|conn| {
        conn.busy_timeout(std::time::Duration::from_secs(5))?;
        conn.pragma_update(None, "temp_store", "MEMORY")?;
        // It may be anybody's file, and damaged.
        conn.pragma_update(None, "trusted_schema", false)?;
        conn.pragma_update(None, "cell_size_check", true)?;
        Ok(conn)
    });
    prepared.map_err(|error| match is_damage(&error) {
        true => {
            AdminError::Damaged { path: path.to_path_buf(), reason: worded(&error).to_string() }
        }
        false => AdminError::Sqlite { path: path.to_path_buf(), source: error },
    })
}

fn uri_of(path: &Path) -> PathBuf {
    let mut uri = b"file:".to_vec();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(*byte),
            other => uri.extend_from_slice(format!("%{other:02X}").as_bytes()),
        }
    }
    uri.extend_from_slice(b"?immutable=1");
    OsString::from_vec(uri).into()
}

/// A copy of a database that nobody has, in a folder that goes with it.
pub(crate) struct Scratch {
    folder: PathBuf,
    pub(crate) file: PathBuf,
}

impl Scratch {
    fn of(system: &dyn System, path: &Path) -> Result<Self, AdminError> {
        let name = format!("shape_db-{:032x}", system.random());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).map_err(AdminError::io("make the folder", &folder))?;
        let scratch = Self { file: folder.join("database"), folder };
        for suffix in ["", "-wal", "-journal"] {
            let from = beside(path, suffix);
            if system.stat(&from).map_err(AdminError::io("look at", &from))?.is_some() {
                fs::copy(&from, beside(&scratch.file, suffix))
                    .map_err(AdminError::io("copy to the temporary folder (TMPDIR)", &from))?;
            }
        }
        Ok(scratch)
    }

    /// Puts the first page of a new database of ours in place of the one there is: the tables
    /// of all of them begin at the same pages.
    fn make_first_page(&self) -> Result<(), AdminError> {
        let mut file = fs::read(&self.file).map_err(AdminError::io("read", &self.file))?;
        let template = self.folder.join("template");
        let conn =
            open(&template, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        let made = (|| {
            conn.pragma_update(None, "page_size", schema::PAGE_SIZE)?;
            let tx = conn.unchecked_transaction()?;
            schema::create(&tx, [0; 16])?;
            tx.commit()
        })();
        made.map_err(AdminError::sqlite(&template))?;
        drop(conn);
        let mut page = fs::read(&template).map_err(AdminError::io("read", &template))?;
        page.truncate(schema::PAGE_SIZE as usize);
        let pages = u32::try_from(file.len() / page.len()).unwrap_or(u32::MAX);
        let log = fs::metadata(beside(&self.file, "-wal")).is_ok_and(|log| log.len() > 0);
        let format = if log { 2 } else { 1 };
        // https://sqlite.org/fileformat2.html#the_database_header
        let patches: [(usize, &[u8]); 3] =
            [(18, &[format, format]), (28, &pages.to_be_bytes()), (32, &[0; 8])];
        for (at, bytes) in patches {
            for (to, from) in page.iter_mut().skip(at).zip(bytes) {
                *to = *from;
            }
        }
        for (to, from) in file.iter_mut().zip(&page) {
            *to = *from;
        }
        fs::write(&self.file, file).map_err(AdminError::io("write", &self.file))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is in the system's folder for such.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
