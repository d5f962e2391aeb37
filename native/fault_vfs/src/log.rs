//! The log of what happened to lasting files while recording, in order.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A moment in the log: how many events were before it. Later moments compare greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point(pub(crate) usize);

impl Point {
    /// The number of events before it.
    pub fn events(self) -> usize {
        self.0
    }
}

/// One file, whatever its name: a name that is deleted and created again is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Inode(u64);

#[derive(Clone)]
pub(crate) enum Change {
    Write { offset: u64, data: Arc<[u8]> },
    Truncate { size: u64 },
}

#[derive(Clone)]
pub(crate) enum Event {
    /// A name got a file, not durably.
    Created { path: PathBuf, inode: Inode },
    /// A name was found to hold content that came by another way than this VFS.
    Found { path: PathBuf, inode: Inode, content: Arc<[u8]> },
    /// A name lost its file, durably if its directory was synced with it.
    Deleted { path: PathBuf, directory: bool },
    /// A file changed, not durably.
    Changed { inode: Inode, change: Change },
    /// What had happened to a file before `start`, when the sync began, is durable; with
    /// `directory`, so are all names beside it.
    Synced { path: PathBuf, inode: Inode, start: Point, directory: bool },
}

#[derive(Clone, Default)]
pub(crate) struct Log {
    /// Files that were there before recording, durable by definition.
    pub(crate) baseline: Vec<(PathBuf, Inode, Arc<[u8]>)>,
    pub(crate) events: Vec<Event>,
    /// What each name ever seen holds now.
    names: HashMap<PathBuf, Option<Inode>>,
    inodes: u64,
}

impl Log {
    pub(crate) fn point(&self) -> Point {
        Point(self.events.len())
    }

    /// A file nobody else has open was opened: tells what it holds, `None` if it is new.
    pub(crate) fn opened(&mut self, path: &Path, content: Option<Vec<u8>>) -> Inode {
        let known = self.names.get(path).copied();
        if let (Some(Some(inode)), Some(content)) = (known, &content)
            && self.content(inode) == *content
        {
            return inode;
        }
        let inode = self.new_inode();
        let path = path.to_owned();
        self.names.insert(path.clone(), Some(inode));
        match (known, content) {
            (_, None) => self.events.push(Event::Created { path, inode }),
            (None, Some(content)) => self.baseline.push((path, inode, content.into())),
            (Some(_), Some(content)) => {
                self.events.push(Event::Found { path, inode, content: content.into() });
            }
        }
        inode
    }

    /// The file that a name holds, for one that is open already.
    pub(crate) fn inode(&self, path: &Path) -> Option<Inode> {
        self.names.get(path).copied().flatten()
    }

    pub(crate) fn knows(&self, path: &Path) -> bool {
        self.names.contains_key(path)
    }

    pub(crate) fn deleted(&mut self, path: &Path, directory: bool) {
        if self.names.insert(path.to_owned(), None).is_some() {
            self.events.push(Event::Deleted { path: path.to_owned(), directory });
        }
    }

    pub(crate) fn wrote(&mut self, inode: Inode, offset: u64, data: &[u8]) {
        let change = Change::Write { offset, data: data.into() };
        self.events.push(Event::Changed { inode, change });
    }

    pub(crate) fn truncated(&mut self, inode: Inode, size: u64) {
        self.events.push(Event::Changed { inode, change: Change::Truncate { size } });
    }

    pub(crate) fn synced(&mut self, path: &Path, inode: Inode, start: Point, directory: bool) {
        self.events.push(Event::Synced { path: path.to_owned(), inode, start, directory });
    }

    fn new_inode(&mut self) -> Inode {
        self.inodes += 1;
        Inode(self.inodes)
    }

    /// What a file holds now, as far as this VFS changed it.
    fn content(&self, wanted: Inode) -> Vec<u8> {
        let found = self.baseline.iter().map(|(_, inode, content)| (inode, content));
        let found = found.chain(self.events.iter().filter_map(|event| match event {
            Event::Found { inode, content, .. } => Some((inode, content)),
            _ => None,
        }));
        let mut content = found
            .filter(|(inode, _)| **inode == wanted)
            .map(|(_, content)| content.to_vec())
            .next()
            .unwrap_or_default();
        for event in &self.events {
            if let Event::Changed { inode, change } = event
                && *inode == wanted
            {
                change.apply(&mut content);
            }
        }
        content
    }
}

impl Change {
    pub(crate) fn apply(&self, content: &mut Vec<u8>) {
        content.resize(self.size_after(content.len()), 0);
        if let Self::Write { offset, data } = self
            && let Some(place) = content.get_mut(*offset as usize..)
            && let Some(place) = place.get_mut(..data.len())
        {
            place.copy_from_slice(data);
        }
    }

    pub(crate) fn size_after(&self, before: usize) -> usize {
        match self {
            Self::Write { offset, data } => before.max(*offset as usize + data.len()),
            Self::Truncate { size } => *size as usize,
        }
    }
}
