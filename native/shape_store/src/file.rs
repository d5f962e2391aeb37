//! The file and its neighbours: who has it, and what to do with a bad one.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use once_cell::sync::Lazy;
use parking_lot::{Condvar, Mutex};
use tracing::warn;

use crate::error::OpenError;

/// How long to pause between two looks at the lock of another process.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

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
    lock: Option<File>,
    alone: bool,
}

impl Presence {
    /// Announces this process. It is alone when nobody else was announced, and then
    /// keeps everybody from opening until it is settled; otherwise waits, at most
    /// `timeout`, for one that is opening. Blocks: for the writer thread only.
    ///
    /// Where the file system cannot lock, one who opens counts as alone: most are,
    /// and the epoch in the file keeps two from writing.
    pub(crate) fn announce(database: &Path, timeout: Duration) -> Result<Self, OpenError> {
        let path = beside(database, ".lock");
        let failed = |source| OpenError::Io { what: "open", path: path.clone(), source };
        let lock = File::options().create(true).append(true).open(&path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => return Ok(Self { lock: Some(lock), alone: true }),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                warn!(path = %path.display(), reason = %error, "this file system cannot lock");
                return Ok(Self { lock: None, alone: true });
            }
        }
        let deadline = Instant::now() + timeout;
        loop {
            match lock.try_lock_shared() {
                Ok(()) => return Ok(Self { lock: Some(lock), alone: false }),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(OpenError::Opening { path: database.to_path_buf() });
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            }
        }
    }

    /// Opening is over: others may come.
    pub(crate) fn settle(&self) {
        if let (true, Some(lock)) = (self.alone, &self.lock) {
            // When it fails the lock stays as it is, and a standby says that this
            // one is opening.
            let _ = lock.lock_shared();
        }
    }

    /// Nobody shares the database: a file in memory, for one.
    pub(crate) fn of_memory() -> Self {
        Self { lock: None, alone: true }
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

/// Renames a database with its journals, which go first: as long as the database
/// has its old name, the renaming can be done again.
pub(crate) fn rename_database(from: &Path, to: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Io { what: "rename", path: from.to_path_buf(), source };
    existing(fs::remove_file(beside(from, "-shm"))).map_err(failed)?;
    for suffix in ["-wal", "-journal"] {
        let (from, to) = (beside(from, suffix), beside(to, suffix));
        if from.exists() {
            fs::rename(from, to).map_err(failed)?;
        }
    }
    fs::rename(from, to).map_err(failed)
}

/// Which file a path leads to, whatever its name was before.
pub(crate) type FileId = (u64, u64);

pub(crate) fn id(path: &Path) -> Option<FileId> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
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
