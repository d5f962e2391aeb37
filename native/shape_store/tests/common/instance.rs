//! Another process, as a store sees it: a second store of this one that is not kept off the
//! file by the first. SQLite tells the connections of both apart.

use std::{
    any::Any,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use shape_store::{Anchor, Holder, LockFile, Native, Options, Stat, System};
use tempfile::TempDir;

#[derive(Debug)]
pub struct Instance;

/// The same options for another instance.
pub fn elsewhere(options: Options) -> Options {
    Options { system: Arc::new(Instance), ..options }
}

/// Everything but some functions as the operating system has it.
macro_rules! native {
    ($($own:item)*) => {
        $($own)*

        fn now(&self) -> Instant {
            Native.now()
        }

        fn since_epoch(&self) -> Duration {
            Native.since_epoch()
        }

        fn random(&self) -> u128 {
            Native.random()
        }

        fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
            Native.absolute(path)
        }

        fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
            Native.resolve(path)
        }

        fn anchor(&self, path: &Path) -> io::Result<Box<dyn Anchor>> {
            Native.anchor(path)
        }

        fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
            Native.append(path, bytes)
        }

        fn lock_file(&self, path: &Path) -> io::Result<Box<dyn LockFile>> {
            Native.lock_file(path)
        }

        fn background(&self, work: Box<dyn FnOnce() + Send>) {
            Native.background(work);
        }
    };
}

/// And how the operating system looks at files.
macro_rules! native_looks {
    () => {
        fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
            Native.stat(path)
        }

        fn read_at(&self, path: &Path, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            Native.read_at(path, offset, buffer)
        }
    };
}

impl System for Instance {
    native_looks!();

    native! {
        fn claim(&self, _: &Path, _: Arc<Holder>) -> Result<Box<dyn Any + Send>, Arc<Holder>> {
            Ok(Box::new(()))
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            Native.rename(from, to)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            Native.remove(path)
        }

        fn sync_folder(&self, folder: &Path) -> io::Result<()> {
            Native.sync_folder(folder)
        }
    }
}

impl System for Breaking {
    native_looks!();

    native! {
        fn claim(
            &self,
            path: &Path,
            holder: Arc<Holder>,
        ) -> Result<Box<dyn Any + Send>, Arc<Holder>> {
            Native.claim(path, holder)
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.step(to.display().to_string().ends_with(".replacement"))?;
            Native.rename(from, to)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            self.step(false)?;
            Native.remove(path)
        }

        fn sync_folder(&self, folder: &Path) -> io::Result<()> {
            self.step(false)?;
            Native.sync_folder(folder)
        }
    }
}

/// A system in which one step of a replacement does not happen, and none after it until
/// that is over: as if the process had ended there. What the folder holds at that moment is
/// kept, taken on the thread that takes the steps, which goes on only afterwards.
#[derive(Debug)]
pub struct Breaking {
    nth: usize,
    folder: PathBuf,
    state: parking_lot::Mutex<Steps>,
}

#[derive(Default, Debug)]
struct Steps {
    begun: bool,
    done: usize,
    decided: bool,
    left: Option<TempDir>,
}

impl Breaking {
    pub fn new(nth: usize, folder: &Path) -> Self {
        Self { nth, folder: folder.to_path_buf(), state: parking_lot::Mutex::default() }
    }

    /// From here on steps count.
    pub fn begin(&self) {
        self.state.lock().begun = true;
    }

    /// What a process that was killed there leaves, once it was broken off; and whether the
    /// new file had been made the database by then.
    pub fn left(&self) -> Option<(TempDir, bool)> {
        let mut state = self.state.lock();
        state.begun = false;
        state.left.take().map(|left| (left, state.decided))
    }

    fn step(&self, decides: bool) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.begun || state.left.is_some() {
            return Ok(());
        }
        if state.done == self.nth {
            state.left = Some(copy_of(&self.folder)?);
            return Err(io::Error::other("broken off"));
        }
        state.done += 1;
        state.decided |= decides;
        Ok(())
    }
}

fn copy_of(folder: &Path) -> io::Result<TempDir> {
    let copy = tempfile::tempdir()?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        std::fs::copy(entry.path(), copy.path().join(entry.file_name()))?;
    }
    Ok(copy)
}

/// A system in which somebody acts just before each look at a log, or at any file: between
/// any two looks of a store.
pub struct Between {
    of: &'static str,
    act: Box<dyn Fn() + Send + Sync>,
}

impl Between {
    pub fn new(act: impl Fn() + Send + Sync + 'static) -> Self {
        Self { of: "-wal", act: Box::new(act) }
    }

    pub fn any(act: impl Fn() + Send + Sync + 'static) -> Self {
        Self { of: "", act: Box::new(act) }
    }

    fn look(&self, path: &Path) {
        if path.display().to_string().ends_with(self.of) {
            (self.act)();
        }
    }
}

impl std::fmt::Debug for Between {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Between")
    }
}

impl System for Between {
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        self.look(path);
        Native.stat(path)
    }

    fn read_at(&self, path: &Path, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.look(path);
        Native.read_at(path, offset, buffer)
    }

    native! {
        fn claim(
            &self,
            path: &Path,
            holder: Arc<Holder>,
        ) -> Result<Box<dyn Any + Send>, Arc<Holder>> {
            Native.claim(path, holder)
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            Native.rename(from, to)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            Native.remove(path)
        }

        fn sync_folder(&self, folder: &Path) -> io::Result<()> {
            Native.sync_folder(folder)
        }
    }
}
