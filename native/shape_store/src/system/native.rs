//! The operating system, as a store has it.

use std::{
    any::Any,
    collections::{HashMap, hash_map::Entry},
    fs::{self, File, Metadata, TryLockError},
    hash::{BuildHasher as _, RandomState},
    io::{self, Read as _, Seek as _, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use once_cell::sync::Lazy;
use parking_lot::Mutex;
use rustix::fs::{Access, AtFlags, CWD, accessat};

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
use super::no_wait;
use super::{Anchor, FileId, Holder, LockFile, Stat, System};
use crate::pool::{Next, Pool, Work};

/// The operating system.
#[derive(Clone, Copy, Default, Debug)]
pub struct Native;

/// How many links in a row lead to a file at most.
const MAX_LINKS: usize = 40;

impl System for Native {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn since_epoch(&self) -> Duration {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }

    fn random(&self) -> u128 {
        // The keys of the standard library's hash maps, which the system draws.
        let draw = || u128::from(RandomState::new().hash_one(Instant::now()));
        draw() << 64 | draw()
    }

    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        std::path::absolute(path)
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let mut path = path.to_path_buf();
        for _ in 0..MAX_LINKS {
            let folder = path.parent().unwrap_or(Path::new("/"));
            fs::create_dir_all(folder)?;
            let folder = fs::canonicalize(folder)?;
            let Some(name) = path.file_name() else {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "it names no file"));
            };
            path = folder.join(name);
            match fs::read_link(&path) {
                // Relative to the folder of the link.
                Ok(target) => path = folder.join(target),
                // Not there, or no link.
                Err(_) => return Ok(path),
            }
        }
        Err(io::Error::from_raw_os_error(libc::ELOOP))
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        match fs::metadata(path) {
            Ok(found) => {
                Ok(Some(Stat { id: id_of(&found), len: found.len(), folder: found.is_dir() }))
            }
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn may_write(&self, path: &Path) -> io::Result<()> {
        Ok(accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS)?)
    }

    fn anchor(&self, path: &Path) -> io::Result<Box<dyn Anchor>> {
        // With O_PATH, to close it drops no locks of SQLite's.
        let file = File::options().read(true).custom_flags(libc::O_PATH).open(path)?;
        let id = id_of(&file.metadata()?);
        Ok(Box::new(NativeAnchor { file, id }))
    }

    fn read_at(&self, path: &Path, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        File::open(path)?.read_at(buffer, offset)
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::options().create(true).append(true).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if !is_absence(&error) => Err(error),
            _ => Ok(()),
        }
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn lock_file(&self, path: &Path) -> io::Result<Box<dyn LockFile>> {
        // Not truncated: it says who has it.
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(Box::new(NativeLock { file }))
    }

    fn claim(&self, path: &Path, holder: Arc<Holder>) -> Result<Box<dyn Any + Send>, Arc<Holder>> {
        let path: Arc<Path> = path.into();
        match CLAIMS.lock().entry(Arc::clone(&path)) {
            Entry::Occupied(there) => Err(Arc::clone(there.get())),
            Entry::Vacant(free) => {
                free.insert(holder);
                Ok(Box::new(Claim(path)))
            }
        }
    }

    fn background(&self, work: Box<dyn FnOnce() + Send>) {
        let task = Arc::new(Task(Mutex::new(Some(work))));
        let run = Pool::of_background().run(Box::new(Arc::clone(&task)), drop);
        if run.is_err() {
            // A thread that is not to be had has not taken the work with it.
            task.do_it();
        }
    }

    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    fn without_waiting(
        &self,
        vfs: Option<&str>,
        reads: u32,
        work: &mut dyn FnMut(),
    ) -> Option<bool> {
        // Another VFS may wait before it reads.
        if vfs.is_some() || !no_wait::prepare() {
            return Some(false);
        }
        no_wait::without_waiting(reads, work)
    }
}

/// Something to be done once.
struct Task(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Task {
    fn do_it(&self) {
        let work = self.0.lock().take();
        if let Some(work) = work {
            work();
        }
    }
}

impl Work for Arc<Task> {
    fn turn(&mut self) -> Next {
        self.do_it();
        Next::Over
    }
}

/// The files that stores of this process have.
static CLAIMS: Lazy<Mutex<HashMap<Arc<Path>, Arc<Holder>>>> = Lazy::new(Mutex::default);

struct Claim(Arc<Path>);

impl Drop for Claim {
    fn drop(&mut self) {
        CLAIMS.lock().remove(&self.0);
    }
}

/// Whether an error says that nothing is at a path.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn id_of(found: &Metadata) -> FileId {
    FileId { device: found.dev(), inode: found.ino(), born: found.created().ok() }
}

#[derive(Debug)]
struct NativeAnchor {
    file: File,
    id: FileId,
}

impl Anchor for NativeAnchor {
    fn id(&self) -> FileId {
        self.id
    }

    fn copy_to(&self, path: &Path) -> io::Result<()> {
        // The only way from such a descriptor to one that reads.
        let mut from = File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))?;
        let mut to = File::create(path)?;
        io::copy(&mut from, &mut to)?;
        Ok(())
    }
}

#[derive(Debug)]
struct NativeLock {
    file: File,
}

impl NativeLock {
    fn take(&self, lock: impl Fn(&File) -> Result<(), TryLockError>) -> io::Result<bool> {
        match lock(&self.file) {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl LockFile for NativeLock {
    fn try_exclusive(&self) -> io::Result<bool> {
        self.take(File::try_lock)
    }

    fn try_shared(&self) -> io::Result<bool> {
        self.take(File::try_lock_shared)
    }

    fn unlock(&self) -> io::Result<()> {
        self.file.unlock()
    }

    fn id(&self) -> io::Result<FileId> {
        Ok(id_of(&self.file.metadata()?))
    }

    fn read(&self) -> io::Result<String> {
        let mut file = &self.file;
        let mut text = String::new();
        file.rewind()?;
        file.read_to_string(&mut text)?;
        Ok(text)
    }

    fn write(&self, text: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.write_all_at(text.as_bytes(), 0)
    }
}
