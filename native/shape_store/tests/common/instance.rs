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

#[derive(Debug)]
pub struct Instance;

/// The same options for another instance.
pub fn elsewhere(options: Options) -> Options {
    Options { system: Arc::new(Instance), ..options }
}

impl System for Instance {
    fn claim(&self, _: &Path, _: Arc<Holder>) -> Result<Box<dyn Any + Send>, Arc<Holder>> {
        Ok(Box::new(()))
    }

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

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        Native.stat(path)
    }

    fn anchor(&self, path: &Path) -> io::Result<Box<dyn Anchor>> {
        Native.anchor(path)
    }

    fn read_at(&self, path: &Path, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        Native.read_at(path, offset, buffer)
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        Native.append(path, bytes)
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

    fn lock_file(&self, path: &Path) -> io::Result<Box<dyn LockFile>> {
        Native.lock_file(path)
    }

    fn background(&self, work: Box<dyn FnOnce() + Send>) {
        Native.background(work);
    }
}
