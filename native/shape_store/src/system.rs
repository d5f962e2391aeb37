//! What a store asks of the system it runs on, besides SQLite: the time, chance, files
//! as such, and locks between instances.
//!
//! One seam, so that a simulator can play the system: with [`Options::vfs`] for what
//! SQLite asks, it decides everything that a store does not decide itself.
//!
//! [`Options::vfs`]: crate::Options::vfs

use std::{
    any::Any,
    collections::{HashMap, hash_map::Entry},
    fmt,
    fs::{self, File, TryLockError},
    hash::{BuildHasher as _, RandomState},
    io::{self, Read as _, Seek as _, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use once_cell::sync::Lazy;
use parking_lot::Mutex;

/// Which file something is, whatever its name: two files that exist at one time differ.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileId {
    /// The device it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

/// What is at a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// Which file.
    pub id: FileId,
    /// Its length in bytes.
    pub len: u64,
    /// Whether it is a folder.
    pub folder: bool,
}

/// A file that stays reachable, and whose [`FileId`] nobody gets, for as long as this is
/// there, whatever becomes of its name. It holds no lock and drops none.
pub trait Anchor: fmt::Debug + Send {
    /// Which file.
    fn id(&self) -> FileId;

    /// Copies its content to a file of this name. No connection of this process may have
    /// the anchored file open.
    fn copy_to(&self, path: &Path) -> io::Result<()>;
}

/// A small file whose lock tells instances of each other, in one process or several. The
/// system gives the lock up when its holder dies. Going from one kind of lock to the other
/// is not atomic: in between another may take it.
pub trait LockFile: fmt::Debug + Send {
    /// Takes the lock alone, in place of what was held; false when others have it.
    fn try_exclusive(&self) -> io::Result<bool>;

    /// Takes the lock beside others, in place of what was held; false when one has it alone.
    fn try_shared(&self) -> io::Result<bool>;

    /// Gives the lock up.
    fn unlock(&self) -> io::Result<()>;

    /// Which file it is, which need not be the one that has its name any more.
    fn id(&self) -> io::Result<FileId>;

    /// What it says.
    fn read(&self) -> io::Result<String>;

    /// Has it say this.
    fn write(&self, text: &str) -> io::Result<()>;
}

/// Whose store has a file.
#[derive(Debug)]
pub struct Holder {
    name: String,
    leaving: AtomicBool,
}

impl Holder {
    /// A store that is to stay.
    pub fn new(name: String) -> Self {
        Self { name, leaving: AtomicBool::new(false) }
    }

    /// What to call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// It has been told to close.
    pub fn leave(&self) {
        // Relaxed, here and below: whoever waits looks again.
        self.leaving.store(true, Relaxed);
    }

    /// Whether it is worth waiting for it to close.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed)
    }
}

/// The system. Every method may be called from any thread. Paths are absolute, but for
/// that of [`System::absolute`].
pub trait System: fmt::Debug + Send + Sync {
    /// A time that never goes back.
    fn now(&self) -> Instant;

    /// The time since 1970, for names and notes.
    fn since_epoch(&self) -> Duration;

    /// A number that nobody else drew.
    fn random(&self) -> u128;

    /// A path that means the same wherever the process goes. Touches no file.
    fn absolute(&self, path: &Path) -> io::Result<PathBuf>;

    /// The one name of a file that may not be there yet: without links, its folder made if
    /// it is missing.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf>;

    /// What is at a path, through links; none when nothing is.
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>>;

    /// Holds on to the file at a path.
    fn anchor(&self, path: &Path) -> io::Result<Box<dyn Anchor>>;

    /// Reads from a file into `buffer`, and says how much was there. Not from a database or
    /// its `-shm`: to close another descriptor drops the locks that SQLite has on them.
    fn read_at(&self, path: &Path, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Adds to the end of a file, which is made if it is missing, and syncs it.
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Renames a file, in place of what has that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file, if it is there.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Has the names in a folder survive a loss of power.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Opens a lock file, which is made if it is missing.
    fn lock_file(&self, path: &Path) -> io::Result<Box<dyn LockFile>>;

    /// The right of one store of this process to use a file, while what is returned lives,
    /// or who has it. SQLite's locks are the process's, so two stores of one process are
    /// kept apart by this.
    fn claim(&self, path: &Path, holder: Arc<Holder>) -> Result<Box<dyn Any + Send>, Arc<Holder>>;

    /// Runs work that nobody waits for, off this thread if that can be had.
    fn background(&self, work: Box<dyn FnOnce() + Send>);
}

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
            Ok(found) => Ok(Some(Stat {
                id: FileId { device: found.dev(), inode: found.ino() },
                len: found.len(),
                folder: found.is_dir(),
            })),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn anchor(&self, path: &Path) -> io::Result<Box<dyn Anchor>> {
        // With O_PATH, to close it drops no locks of SQLite's.
        let file = File::options().read(true).custom_flags(libc::O_PATH).open(path)?;
        let id = id_of(&file)?;
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
        // Behind a lock, as a thread that is not to be had would take the work with it.
        let work = Arc::new(Mutex::new(Some(work)));
        let run = |work: &Mutex<Option<Box<dyn FnOnce() + Send>>>| {
            let work = work.lock().take();
            if let Some(work) = work {
                work();
            }
        };
        let theirs = Arc::clone(&work);
        let thread = thread::Builder::new().name("shape_db_background".into());
        if thread.spawn(move || run(&theirs)).is_err() {
            run(&work);
        }
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

fn id_of(file: &File) -> io::Result<FileId> {
    let found = file.metadata()?;
    Ok(FileId { device: found.dev(), inode: found.ino() })
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
    /// Gives up what is held first: the system would do so too, but not on every
    /// file system.
    fn take(&self, lock: impl Fn(&File) -> Result<(), TryLockError>) -> io::Result<bool> {
        self.file.unlock()?;
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
        id_of(&self.file)
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
