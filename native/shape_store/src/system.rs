//! What a store asks of the system it runs on, besides SQLite: the time, chance, files
//! as such, and locks between instances.
//!
//! One seam, so that a simulator can play the system: with [`Options::vfs`] for what
//! SQLite asks, it decides everything that a store does not decide itself.
//!
//! [`Options::vfs`]: crate::Options::vfs

mod native;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod no_wait;

use std::{
    any::Any,
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use once_cell::sync::Lazy;

pub use self::native::Native;

/// Which file something is, whatever its name: two files that exist at one time differ, and
/// where the file system tells when a file was made, so do two that have one number in turn.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileId {
    /// The device it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// When it was made.
    pub born: Option<SystemTime>,
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

    /// An error when this process may not write to the file that is there.
    fn may_write(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

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

    /// How many writers of this process are busy at this moment, for them to count.
    fn busy_writers(&self) -> Arc<AtomicUsize> {
        static HERE: Lazy<Arc<AtomicUsize>> = Lazy::new(Arc::default);
        Arc::clone(&HERE)
    }

    /// Runs work that may take its time, off this thread if that can be had.
    fn background(&self, work: Box<dyn FnOnce() + Send>);

    /// Runs `work` on this thread, where SQLite reads from files at most `reads` times, and
    /// only what the system has in memory: a read that would wait for the disk fails. Whether
    /// the files that it read can be read so; none if it read none. `vfs` is the one that
    /// SQLite uses, if it is not its own.
    ///
    /// Where that is not to be had, `work` is not run, as here.
    fn without_waiting(
        &self,
        _vfs: Option<&str>,
        _reads: u32,
        _work: &mut dyn FnMut(),
    ) -> Option<bool> {
        Some(false)
    }
}
