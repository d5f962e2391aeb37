//! The system as a store sees it, on the platform.

use std::{
    any::Any,
    io,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use shape_store::{Anchor, FileId, Holder as Owner, LockFile, Stat, System};

use crate::{
    disk::{Holder, Key, parent},
    platform::{Fault, Kind, Platform, ProcessId},
};

/// The system of one process.
#[derive(Clone, Copy, Debug)]
pub struct Simulated {
    platform: u64,
    process: ProcessId,
}

/// How much is copied at a time.
const PIECE: usize = 64 << 10;

impl Simulated {
    /// The system of a process.
    pub fn new(platform: &Platform, process: ProcessId) -> Self {
        Self { platform: platform.id, process }
    }

    fn platform(&self) -> io::Result<Rc<Platform>> {
        Platform::current()
            .filter(|platform| platform.id == self.platform)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EIO))
    }

    /// The platform, once the operation has passed the gate.
    fn pass(&self, kind: Kind, path: &str) -> io::Result<Rc<Platform>> {
        let platform = self.platform()?;
        platform.gate(self.process, kind, path)?;
        Ok(platform)
    }

    fn write(&self, key: Key, path: &str, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let platform = self.pass(Kind::Write, path)?;
        let fits = platform.disk.borrow_mut().write(key, offset, bytes);
        if fits < bytes.len() { Err(Fault::Full.into()) } else { Ok(()) }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

fn file_id(number: u64) -> FileId {
    FileId { device: 1, inode: number, born: None }
}

fn missing() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOENT)
}

impl System for Simulated {
    fn now(&self) -> Instant {
        match self.platform() {
            Ok(platform) => platform.now(),
            Err(_) => Instant::now(),
        }
    }

    fn since_epoch(&self) -> Duration {
        const YEAR_2024: Duration = Duration::from_secs(1_704_067_200);
        YEAR_2024 + self.platform().map_or(Duration::ZERO, |platform| platform.elapsed())
    }

    fn random(&self) -> u128 {
        let draw = || self.platform().map_or(1, |platform| u128::from(platform.random()));
        draw() << 64 | draw()
    }

    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(match text(path) {
            there if there.starts_with('/') => path.into(),
            path => {
                let folder = self.platform()?.folder(self.process);
                format!("{}/{path}", folder.trim_end_matches('/')).into()
            }
        })
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let platform = self.pass(Kind::Look, text(path))?;
        platform.disk.borrow_mut().make_folders(parent(text(path)))?;
        Ok(path.into())
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let platform = self.pass(Kind::Look, text(path))?;
        let disk = platform.disk.borrow();
        Ok(disk.find(text(path)).map(|key| {
            let inode = disk.inode(key);
            let len = inode.content.bytes().len() as u64;
            Stat { id: file_id(inode.number), len, folder: inode.folder }
        }))
    }

    fn anchor(&self, path: &Path) -> io::Result<Box<dyn Anchor>> {
        let platform = self.pass(Kind::Open, text(path))?;
        let key = platform.disk.borrow().find(text(path)).ok_or_else(missing)?;
        let holder = platform.open(self.process, key);
        Ok(Box::new(Open { system: *self, key, holder, path: text(path).into() }))
    }

    fn read_at(&self, path: &Path, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let platform = self.pass(Kind::Read, text(path))?;
        let disk = platform.disk.borrow();
        let key = disk.find(text(path)).ok_or_else(missing)?;
        if platform.has_database(self.process, key) {
            platform.violate(format!("read_at of {path:?}, which SQLite has open in this process"));
        }
        if disk.inode(key).folder {
            return Err(io::Error::from_raw_os_error(libc::EISDIR));
        }
        Ok(disk.read(key, offset as usize, buffer))
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let path = text(path);
        let platform = self.pass(Kind::Open, path)?;
        let key = platform.disk.borrow_mut().open_or_create(path)?;
        let size = platform.disk.borrow().inode(key).content.bytes().len();
        self.write(key, path, size, bytes)?;
        let platform = self.pass(Kind::Sync, path)?;
        platform.disk.borrow_mut().sync(key, path);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let platform = self.pass(Kind::Rename, text(from))?;
        platform.disk.borrow_mut().rename(text(from), text(to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let platform = self.pass(Kind::Delete, text(path))?;
        let mut disk = platform.disk.borrow_mut();
        match disk.find(text(path)) {
            Some(_) => disk.remove(text(path)),
            None => Ok(()),
        }
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let platform = self.pass(Kind::SyncFolder, text(folder))?;
        platform.disk.borrow_mut().sync_folder(text(folder))
    }

    fn lock_file(&self, path: &Path) -> io::Result<Box<dyn LockFile>> {
        let platform = self.pass(Kind::Open, text(path))?;
        let key = platform.disk.borrow_mut().open_or_create(text(path))?;
        let holder = platform.open(self.process, key);
        Ok(Box::new(Open { system: *self, key, holder, path: text(path).into() }))
    }

    fn claim(&self, path: &Path, owner: Arc<Owner>) -> Result<Box<dyn Any + Send>, Arc<Owner>> {
        let Ok(platform) = self.platform() else { return Err(owner) };
        platform.claim(self.process, text(path), owner)?;
        Ok(Box::new(Claim { system: *self, path: text(path).into() }))
    }

    fn busy_writers(&self) -> Arc<AtomicUsize> {
        self.platform().map(|platform| Arc::clone(&platform.busy_writers)).unwrap_or_default()
    }

    fn background(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }

    fn without_waiting(
        &self,
        _vfs: Option<&str>,
        reads: u32,
        work: &mut dyn FnMut(),
    ) -> Option<bool> {
        let Ok(platform) = self.platform() else { return Some(false) };
        platform.without_waiting(reads, work);
        Some(true)
    }
}

struct Claim {
    system: Simulated,
    path: String,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Ok(platform) = self.system.platform() {
            platform.unclaim(self.system.process, &self.path);
        }
    }
}

/// A file that a store holds open besides SQLite.
#[derive(Debug)]
struct Open {
    system: Simulated,
    key: Key,
    holder: Holder,
    path: String,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Ok(platform) = self.system.platform() {
            platform.close(self.system.process, self.holder);
        }
    }
}

impl Open {
    fn number(&self) -> u64 {
        let platform = self.system.platform();
        platform.map_or(0, |platform| platform.disk.borrow().inode(self.key).number)
    }

    fn flock(&self, alone: bool) -> io::Result<bool> {
        let platform = self.system.platform()?;
        platform.check(self.system.process)?;
        // Not atomic: others may come between.
        platform.disk.borrow_mut().inode_mut(self.key).locks.unflock(self.holder);
        let platform = self.system.pass(Kind::Flock, &self.path)?;
        let mut disk = platform.disk.borrow_mut();
        Ok(disk.inode_mut(self.key).locks.flock(self.holder, alone))
    }
}

impl Anchor for Open {
    fn id(&self) -> FileId {
        file_id(self.number())
    }

    fn copy_to(&self, path: &Path) -> io::Result<()> {
        let platform = self.system.pass(Kind::Open, text(path))?;
        if platform.has_database(self.system.process, self.key) {
            platform.note("copies of a file that a reader has open");
        }
        let to = platform.disk.borrow_mut().open_or_create(text(path))?;
        let holder = platform.open(self.system.process, to);
        let to = Open { system: self.system, key: to, holder, path: text(path).into() };
        platform.disk.borrow_mut().cut(to.key, 0);
        let mut buffer = vec![0; PIECE];
        let mut offset = 0;
        loop {
            let platform = self.system.pass(Kind::Read, &self.path)?;
            let n = platform.disk.borrow().read(self.key, offset, &mut buffer);
            if n == 0 {
                return Ok(());
            }
            self.system.write(to.key, &to.path, offset, &buffer[..n])?;
            offset += n;
        }
    }
}

impl LockFile for Open {
    fn try_exclusive(&self) -> io::Result<bool> {
        self.flock(true)
    }

    fn try_shared(&self) -> io::Result<bool> {
        self.flock(false)
    }

    fn unlock(&self) -> io::Result<()> {
        let platform = self.system.platform()?;
        platform.check(self.system.process)?;
        platform.disk.borrow_mut().inode_mut(self.key).locks.unflock(self.holder);
        Ok(())
    }

    fn id(&self) -> io::Result<FileId> {
        Ok(file_id(self.number()))
    }

    fn read(&self) -> io::Result<String> {
        let platform = self.system.pass(Kind::Read, &self.path)?;
        let disk = platform.disk.borrow();
        let bytes = disk.inode(self.key).content.bytes();
        String::from_utf8(bytes.to_vec()).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    fn write(&self, text: &str) -> io::Result<()> {
        self.system.platform()?.disk.borrow_mut().cut(self.key, 0);
        self.system.write(self.key, &self.path, 0, text.as_bytes())
    }
}
