//! What SQLite and the system say, in words that somebody can act on.
//!
//! SQLite's own text is that of the primary code, which is "disk I/O error" for a full
//! quota and "unable to open database file" for a process without descriptors. Its
//! extended code says which call failed, and the system says why.

use std::{fmt, fs, io, path::Path};

use rusqlite::{Error, ffi};

/// The extended codes that tell more than their text.
const NAMES: &[(i32, &str)] = &[
    (ffi::SQLITE_IOERR_READ, "SQLITE_IOERR_READ"),
    (ffi::SQLITE_IOERR_SHORT_READ, "SQLITE_IOERR_SHORT_READ"),
    (ffi::SQLITE_IOERR_WRITE, "SQLITE_IOERR_WRITE"),
    (ffi::SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC"),
    (ffi::SQLITE_IOERR_DIR_FSYNC, "SQLITE_IOERR_DIR_FSYNC"),
    (ffi::SQLITE_IOERR_TRUNCATE, "SQLITE_IOERR_TRUNCATE"),
    (ffi::SQLITE_IOERR_FSTAT, "SQLITE_IOERR_FSTAT"),
    (ffi::SQLITE_IOERR_UNLOCK, "SQLITE_IOERR_UNLOCK"),
    (ffi::SQLITE_IOERR_RDLOCK, "SQLITE_IOERR_RDLOCK"),
    (ffi::SQLITE_IOERR_DELETE, "SQLITE_IOERR_DELETE"),
    (ffi::SQLITE_IOERR_NOMEM, "SQLITE_IOERR_NOMEM"),
    (ffi::SQLITE_IOERR_ACCESS, "SQLITE_IOERR_ACCESS"),
    (ffi::SQLITE_IOERR_CHECKRESERVEDLOCK, "SQLITE_IOERR_CHECKRESERVEDLOCK"),
    (ffi::SQLITE_IOERR_LOCK, "SQLITE_IOERR_LOCK"),
    (ffi::SQLITE_IOERR_CLOSE, "SQLITE_IOERR_CLOSE"),
    (ffi::SQLITE_IOERR_SHMOPEN, "SQLITE_IOERR_SHMOPEN"),
    (ffi::SQLITE_IOERR_SHMSIZE, "SQLITE_IOERR_SHMSIZE"),
    (ffi::SQLITE_IOERR_SHMLOCK, "SQLITE_IOERR_SHMLOCK"),
    (ffi::SQLITE_IOERR_SHMMAP, "SQLITE_IOERR_SHMMAP"),
    (ffi::SQLITE_IOERR_SEEK, "SQLITE_IOERR_SEEK"),
    (ffi::SQLITE_IOERR_DELETE_NOENT, "SQLITE_IOERR_DELETE_NOENT"),
    (ffi::SQLITE_IOERR_CORRUPTFS, "SQLITE_IOERR_CORRUPTFS"),
    (ffi::SQLITE_IOERR_DATA, "SQLITE_IOERR_DATA"),
    (ffi::SQLITE_FULL, "SQLITE_FULL"),
    (ffi::SQLITE_NOMEM, "SQLITE_NOMEM"),
    (ffi::SQLITE_PERM, "SQLITE_PERM"),
    (ffi::SQLITE_CANTOPEN, "SQLITE_CANTOPEN"),
    (ffi::SQLITE_CANTOPEN_ISDIR, "SQLITE_CANTOPEN_ISDIR"),
    (ffi::SQLITE_CANTOPEN_FULLPATH, "SQLITE_CANTOPEN_FULLPATH"),
    (ffi::SQLITE_CANTOPEN_DIRTYWAL, "SQLITE_CANTOPEN_DIRTYWAL"),
    (ffi::SQLITE_CANTOPEN_SYMLINK, "SQLITE_CANTOPEN_SYMLINK"),
    (ffi::SQLITE_READONLY, "SQLITE_READONLY"),
    (ffi::SQLITE_READONLY_RECOVERY, "SQLITE_READONLY_RECOVERY"),
    (ffi::SQLITE_READONLY_CANTLOCK, "SQLITE_READONLY_CANTLOCK"),
    (ffi::SQLITE_READONLY_ROLLBACK, "SQLITE_READONLY_ROLLBACK"),
    (ffi::SQLITE_READONLY_DBMOVED, "SQLITE_READONLY_DBMOVED"),
    (ffi::SQLITE_READONLY_CANTINIT, "SQLITE_READONLY_CANTINIT"),
    (ffi::SQLITE_READONLY_DIRECTORY, "SQLITE_READONLY_DIRECTORY"),
    (ffi::SQLITE_BUSY, "SQLITE_BUSY"),
    (ffi::SQLITE_BUSY_RECOVERY, "SQLITE_BUSY_RECOVERY"),
    (ffi::SQLITE_BUSY_SNAPSHOT, "SQLITE_BUSY_SNAPSHOT"),
    (ffi::SQLITE_LOCKED, "SQLITE_LOCKED"),
    (ffi::SQLITE_PROTOCOL, "SQLITE_PROTOCOL"),
    (ffi::SQLITE_NOLFS, "SQLITE_NOLFS"),
    (ffi::SQLITE_CORRUPT, "SQLITE_CORRUPT"),
    (ffi::SQLITE_NOTADB, "SQLITE_NOTADB"),
];

/// An error of SQLite as it is to be read: its text, its extended code by name, and what
/// to do. `path` is the file, where one was being opened.
pub struct Worded<'e> {
    error: &'e Error,
    path: Option<&'e Path>,
}

/// Puts an error of SQLite into words.
pub fn worded(error: &Error) -> Worded<'_> {
    Worded { error, path: None }
}

/// The same for one that came of opening this file.
pub(crate) fn worded_opening<'e>(error: &'e Error, path: &'e Path) -> Worded<'e> {
    Worded { error, path: Some(path) }
}

impl fmt::Display for Worded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        let Error::SqliteFailure(failure, _) = self.error else { return Ok(()) };
        let code = failure.extended_code;
        if let Some((_, name)) = NAMES.iter().find(|(known, _)| *known == code) {
            write!(f, " ({name})")?;
        }
        // Of the primary code when there is none for this one.
        let advice = advice(code).or_else(|| advice(code & 0xFF));
        if let Some(found) = self.path.filter(|_| is_about_opening(code)).and_then(obstacle) {
            return write!(f, ": {}", system(&found));
        }
        match advice {
            Some(advice) => write!(f, ": {advice}"),
            None => Ok(()),
        }
    }
}

fn is_about_opening(code: i32) -> bool {
    matches!(code & 0xFF, ffi::SQLITE_CANTOPEN | ffi::SQLITE_PERM | ffi::SQLITE_IOERR)
}

/// What to do about an error of this code.
fn advice(code: i32) -> Option<&'static str> {
    Some(match code {
        ffi::SQLITE_FULL => "the disk is full, or the quota used up; make room",
        ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_TRUNCATE => {
            "the system refused to write; see whether the disk is full, its quota used up, or \
             the device failing (the system's log says)"
        }
        ffi::SQLITE_IOERR_SHMOPEN | ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_SHMMAP => {
            "the index of the log could not be had, the -shm file beside the database: the disk is \
             full, there are no more descriptors, or the file system has no shared memory, and \
             exclusive_mode is for that"
        }
        ffi::SQLITE_IOERR_LOCK | ffi::SQLITE_IOERR_RDLOCK | ffi::SQLITE_IOERR_UNLOCK => {
            "the file system did not lock the file; see the guide on network file systems"
        }
        ffi::SQLITE_IOERR => "the system refused; its log says whether the device is failing",
        ffi::SQLITE_NOMEM | ffi::SQLITE_IOERR_NOMEM => "there is no more memory for this process",
        ffi::SQLITE_PERM => "this user may not use the file; see its owner and mode",
        ffi::SQLITE_CANTOPEN => {
            "see whether the folder is there, whether this user may write in it, and whether the \
             process has descriptors left (ulimit -n)"
        }
        ffi::SQLITE_READONLY_DBMOVED => "the file was moved or removed while it was open",
        ffi::SQLITE_READONLY_ROLLBACK => {
            "the writer, with which this store has no lock in common, is in the middle of a \
             transaction or ended in one; it is for the writer to roll it back"
        }
        ffi::SQLITE_READONLY => {
            "the file, its folder or the file system is read-only for this user; see mode, owner \
             and mount"
        }
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => {
            "another process has the file locked, a backup or a shell perhaps"
        }
        ffi::SQLITE_PROTOCOL => "other processes contend for the lock of the log",
        _ => return None,
    })
}

/// What keeps this process from opening the file, as far as can be told without opening
/// it: to close a descriptor of a database drops the locks that SQLite has on it.
fn obstacle(path: &Path) -> Option<io::Error> {
    // That one has no locks. It fails for want of descriptors only.
    if let Err(error) = fs::File::open("/dev/null") {
        return Some(error);
    }
    let folder = path.parent().map(fs::metadata);
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => Some(io::ErrorKind::IsADirectory.into()),
        Ok(_) => None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => folder?.err(),
        Err(error) => Some(error),
    }
}

/// An error of the system as it is to be read: its text, and what to do.
pub(crate) fn system(error: &io::Error) -> System<'_> {
    System(error)
}

pub(crate) struct System<'e>(&'e io::Error);

impl fmt::Display for System<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let advice = match self.0.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => "make room, or raise the quota",
            Some(libc::EMFILE) => "this process has no descriptors left; raise ulimit -n",
            Some(libc::ENFILE) => "the system has no descriptors left; raise fs.file-max",
            Some(libc::EAGAIN) => {
                "there are no more threads or processes to be had; raise ulimit -u, or the bound \
                 of the container"
            }
            Some(libc::ENOMEM) => "there is no more memory for this process",
            Some(libc::EACCES | libc::EPERM) => {
                "this user may not; see owner and mode of the file and of each folder above it"
            }
            Some(libc::EROFS) => "the file system is mounted read-only",
            Some(libc::ENAMETOOLONG) => "choose a shorter storage_dir",
            Some(libc::ENOTDIR) => "something on the way there is not a folder",
            Some(libc::EIO) => "the device is failing; the system's log says",
            _ => return Ok(()),
        };
        write!(f, ": {advice}")
    }
}

#[cfg(all(test, not(miri), not(loom)))]
mod tests {
    use super::*;

    fn failure(code: i32) -> Error {
        Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn each_code_that_is_named_says_what_to_do_or_what_it_is() {
        for (code, name) in NAMES {
            let text = worded(&failure(*code)).to_string();
            assert!(text.contains(&format!("({name})")), "{text}");
            assert!(!text.contains("Failure") && !text.contains("ErrorCode"), "{text}");
        }
        let full = worded(&failure(ffi::SQLITE_FULL)).to_string();
        assert!(full.ends_with("make room"), "{full}");
        // Of its primary code.
        let seek = worded(&failure(ffi::SQLITE_IOERR_SEEK)).to_string();
        assert!(seek.contains("failing"), "{seek}");
    }

    #[test]
    fn an_error_in_sql_reads_as_ever() {
        let text = Error::SqliteFailure(
            ffi::Error::new(ffi::SQLITE_ERROR),
            Some("no such table: nowhere".into()),
        );
        assert_eq!(worded(&text).to_string(), "no such table: nowhere");
    }

    #[test]
    fn what_keeps_a_file_from_being_opened_is_told() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let cannot = failure(ffi::SQLITE_CANTOPEN);
        let long = dir.path().join("x".repeat(300)).join("db");
        let text = worded_opening(&cannot, &long).to_string();
        assert!(text.contains("name too long") && text.contains("shorter storage_dir"), "{text}");
        let nowhere = dir.path().join("nowhere").join("db");
        assert!(worded_opening(&cannot, &nowhere).to_string().contains("No such file"));
        fs::write(dir.path().join("file"), "")?;
        let below = dir.path().join("file").join("db");
        assert!(worded_opening(&cannot, &below).to_string().contains("not a folder"));
        assert!(worded_opening(&cannot, dir.path()).to_string().contains("directory"));
        // Nothing to be seen: what to look for.
        let there = dir.path().join("file");
        assert!(worded_opening(&cannot, &there).to_string().contains("ulimit -n"));
        Ok(())
    }

    #[test]
    fn the_system_says_what_to_do() {
        let said = |code| system(&io::Error::from_raw_os_error(code)).to_string();
        assert!(said(libc::EAGAIN).contains("ulimit -u"));
        assert!(said(libc::ENOSPC).contains("make room"));
        assert!(said(libc::EMFILE).contains("ulimit -n"));
        assert!(said(libc::EROFS).contains("read-only"));
        assert!(!said(libc::EEXIST).contains("::"));
    }
}
