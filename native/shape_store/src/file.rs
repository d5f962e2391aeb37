//! The file and its neighbours: who has it, and what to do with a bad one.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use once_cell::sync::Lazy;
use parking_lot::{Condvar, Mutex};

use crate::error::OpenError;

/// The files that stores of this process have open. SQLite's locks are the
/// process's, so two stores of one process are kept apart here.
static OPEN_FILES: Lazy<OpenFiles> = Lazy::new(OpenFiles::default);

#[derive(Default)]
struct OpenFiles {
    paths: Mutex<HashSet<PathBuf>>,
    freed: Condvar,
}

/// The right of one store of this process to use a file.
pub(crate) struct FileLease {
    path: PathBuf,
}

impl FileLease {
    /// Waits for the store that has the file to close, at most `timeout`.
    /// Blocks: for the writer thread only.
    pub(crate) fn acquire(path: &Path, timeout: Duration) -> Result<Self, OpenError> {
        let path = absolute(path)?;
        let deadline = Instant::now() + timeout;
        let mut paths = OPEN_FILES.paths.lock();
        while !paths.insert(path.clone()) {
            if OPEN_FILES.freed.wait_until(&mut paths, deadline).timed_out() {
                return Err(OpenError::InUse { path, waited_ms: timeout.as_millis() });
            }
        }
        Ok(Self { path })
    }
}

impl Drop for FileLease {
    fn drop(&mut self) {
        OPEN_FILES.paths.lock().remove(&self.path);
        OPEN_FILES.freed.notify_all();
    }
}

/// One name for one file: its folder without links, then its own name.
fn absolute(path: &Path) -> Result<PathBuf, OpenError> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let named = |what, source| OpenError::Io { what, path: folder.to_path_buf(), source };
    fs::create_dir_all(folder).map_err(|e| named("create the folder", e))?;
    let folder = fs::canonicalize(folder).map_err(|e| named("resolve the folder", e))?;
    Ok(folder.join(path.file_name().unwrap_or_default()))
}

/// Tells other processes that a store has the file, by a shared lock on a file
/// beside it, which the kernel gives up when the process dies.
pub(crate) struct Presence {
    /// Held for its lock.
    _lock: Option<File>,
    alone: bool,
}

impl Presence {
    /// Announces this process. It is alone when nobody else was announced.
    /// Where the file system cannot lock, nobody is ever known to be alone.
    pub(crate) fn announce(database: &Path) -> Result<Self, OpenError> {
        let path = beside(database, ".lock");
        let failed = |source| OpenError::Io { what: "open", path: path.clone(), source };
        let lock = File::options().create(true).append(true).open(&path).map_err(failed)?;
        let alone = match lock.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(_)) => return Ok(Self { _lock: None, alone: false }),
        };
        // From exclusive to shared: somebody may come between, and sees us gone
        // for that moment, as if it had come first.
        let shared = if alone {
            lock.unlock().and_then(|()| lock.lock_shared())
        } else {
            lock.lock_shared()
        };
        match shared {
            Ok(()) => Ok(Self { _lock: Some(lock), alone }),
            Err(_) => Ok(Self { _lock: None, alone: false }),
        }
    }

    /// Nobody shares the database: a file in memory, for one.
    pub(crate) fn of_memory() -> Self {
        Self { _lock: None, alone: true }
    }

    pub(crate) fn alone(&self) -> bool {
        self.alone
    }
}

/// `path` with `suffix` after its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Moves a database that cannot be used out of the way, with its journals, and
/// says where it is now.
pub(crate) fn quarantine(path: &Path) -> Result<PathBuf, OpenError> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let to = beside(path, &format!(".corrupt-{}", now.as_micros()));
    rename_database(path, &to)?;
    Ok(to)
}

/// Renames a database and its journals, the database last but one: whenever it
/// stops, what has the old name is whole or gone.
pub(crate) fn rename_database(from: &Path, to: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Io { what: "rename", path: from.to_path_buf(), source };
    fs::rename(from, to).map_err(failed)?;
    for suffix in ["-wal", "-journal"] {
        existing(fs::rename(beside(from, suffix), beside(to, suffix))).map_err(failed)?;
    }
    existing(fs::remove_file(beside(from, "-shm"))).map_err(failed)
}

/// Removes a database and its journals, as far as they are there.
pub(crate) fn remove_database(path: &Path) -> Result<(), OpenError> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let file = beside(path, suffix);
        existing(fs::remove_file(&file)).map_err(|source| OpenError::Io {
            what: "remove",
            path: file,
            source,
        })?;
    }
    Ok(())
}

fn existing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
