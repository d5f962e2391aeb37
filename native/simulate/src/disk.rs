//! The disk: files, and the names that lead to them.
//!
//! A name leads to an *inode*, which lives as long as a name or somebody who holds it
//! open does. Its *key* is its own for ever; its *number*, which programs see, is given
//! again to the next file once nobody has the inode any more, as usual file systems do.

use std::{collections::BTreeMap, io};

use crate::{content::Content, locks::Locks, names::Names, shared_memory::SharedMemory};

mod inodes;

/// Which inode, in the life of a disk.
pub type Key = usize;

/// Somebody who holds a file open, in the life of a disk.
pub type Holder = u64;

/// A file or a folder.
#[derive(Default, Debug)]
pub struct Inode {
    /// What programs see of its identity; 0 when it is gone.
    pub number: u64,
    /// Whether it is a folder.
    pub folder: bool,
    /// What it holds.
    pub content: Content,
    /// Who has which lock on it.
    pub locks: Locks,
    /// Its memory, if it is a `-shm`.
    pub memory: SharedMemory,
    links: usize,
    holders: usize,
}

/// A disk.
#[derive(Debug)]
pub struct Disk {
    inodes: Vec<Inode>,
    names: Names,
    /// The numbers in use, of live inodes.
    numbers: BTreeMap<u64, Key>,
    capacity: Option<u64>,
    used: u64,
}

fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

impl Default for Disk {
    /// An empty one, with a root.
    fn default() -> Self {
        let mut disk = Self {
            inodes: Vec::new(),
            names: Names::default(),
            numbers: BTreeMap::new(),
            capacity: None,
            used: 0,
        };
        let root = disk.new_inode(true);
        disk.link("/", root);
        disk.names.sync_name("/", root);
        disk
    }
}

impl Disk {
    // --- names

    /// What a name leads to.
    pub fn find(&self, path: &str) -> Option<Key> {
        self.names.get(path)
    }

    /// The names in a folder, in order.
    pub fn list(&self, folder: &str) -> Vec<String> {
        self.names.within(folder)
    }

    /// A new, empty file under a name that nothing has.
    pub fn create(&mut self, path: &str) -> io::Result<Key> {
        self.check_parent(path)?;
        if self.find(path).is_some() {
            return Err(errno(libc::EEXIST));
        }
        let key = self.new_inode(false);
        self.link(path, key);
        Ok(key)
    }

    /// The file of a name, made if it is missing.
    pub fn open_or_create(&mut self, path: &str) -> io::Result<Key> {
        match self.find(path) {
            Some(key) if self.inodes[key].folder => Err(errno(libc::EISDIR)),
            Some(key) => Ok(key),
            None => self.create(path),
        }
    }

    /// Makes a folder with those above it. It survives at once.
    pub fn make_folders(&mut self, path: &str) -> io::Result<()> {
        if let Some(key) = self.find(path) {
            return if self.inodes[key].folder { Ok(()) } else { Err(errno(libc::ENOTDIR)) };
        }
        self.make_folders(parent(path))?;
        let key = self.new_inode(true);
        self.link(path, key);
        self.names.sync_name(path, key);
        Ok(())
    }

    /// Takes a name away.
    pub fn remove(&mut self, path: &str) -> io::Result<()> {
        let key = self.find(path).ok_or_else(|| errno(libc::ENOENT))?;
        if self.inodes[key].folder {
            return Err(errno(libc::EISDIR));
        }
        self.names.change(&[(path, None)]);
        self.unlink(key);
        Ok(())
    }

    /// Takes a folder away, with all there is in it.
    pub fn remove_folder(&mut self, path: &str) {
        for name in self.list(path) {
            let _ = self.remove(&name);
        }
        if let Some(key) = self.find(path) {
            self.names.change(&[(path, None)]);
            self.names.sync_folder(parent(path));
            self.unlink(key);
        }
    }

    /// Renames, in place of what has the name, in one instant.
    pub fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.check_parent(to)?;
        let key = self.find(from).ok_or_else(|| errno(libc::ENOENT))?;
        let there = self.find(to);
        if there == Some(key) {
            return Ok(());
        }
        if let Some(there) = there {
            match (self.inodes[key].folder, self.inodes[there].folder) {
                (false, true) => return Err(errno(libc::EISDIR)),
                (true, false) => return Err(errno(libc::ENOTDIR)),
                (true, true) if !self.list(to).is_empty() => return Err(errno(libc::ENOTEMPTY)),
                _ => {}
            }
        }
        let inside = if self.inodes[key].folder { self.list(from) } else { Vec::new() };
        self.names.change(&[(from, None), (to, Some(key))]);
        for name in inside {
            let moved = format!("{to}{}", &name[from.len()..]);
            let key = self.names.get(&name);
            self.names.change(&[(&name, None), (&moved, key)]);
        }
        if let Some(there) = there {
            self.unlink(there);
        }
        Ok(())
    }

    /// Has two names change places, in one instant.
    pub fn exchange(&mut self, a: &str, b: &str) -> io::Result<()> {
        let (Some(one), Some(other)) = (self.find(a), self.find(b)) else {
            return Err(errno(libc::ENOENT));
        };
        self.names.change(&[(a, Some(other)), (b, Some(one))]);
        Ok(())
    }

    /// Another name for a file.
    pub fn hard_link(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.check_parent(to)?;
        let key = self.find(from).ok_or_else(|| errno(libc::ENOENT))?;
        if self.find(to).is_some() {
            return Err(errno(libc::EEXIST));
        }
        self.link(to, key);
        Ok(())
    }

    /// The names in a folder survive.
    pub fn sync_folder(&mut self, folder: &str) -> io::Result<()> {
        let key = self.find(folder).ok_or_else(|| errno(libc::ENOENT))?;
        if !self.inodes[key].folder {
            return Err(errno(libc::ENOTDIR));
        }
        self.names.sync_folder(folder);
        Ok(())
    }

    fn check_parent(&self, path: &str) -> io::Result<()> {
        match self.find(parent(path)) {
            Some(key) if self.inodes[key].folder => Ok(()),
            Some(_) => Err(errno(libc::ENOTDIR)),
            None => Err(errno(libc::ENOENT)),
        }
    }
}

/// The folder of a path.
pub fn parent(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(at) => &path[..at],
    }
}
