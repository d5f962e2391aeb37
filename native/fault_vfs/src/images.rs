//! What the disk may hold when power is lost.

use crate::{
    log::{Change, Event, Inode, Log, Point},
    torn::{Chance, torn},
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

/// What becomes of changes that were not synced when power is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// All are lost, creations and deletions of files too: the durable image.
    Dropped,
    /// A pseudo-random part survives, the same for the same seed: in order, whole writes out of
    /// order, or single 512-byte sectors; of each name's creations and deletions, the first few.
    Torn(u64),
    /// None is lost: the live image, which is also what a killed process leaves.
    Kept,
}

/// The images of a recording; see [`FaultVfs::images`](crate::FaultVfs::images).
///
/// Asking for points in rising order is fast; going back replays from the start.
pub struct Images {
    log: Log,
    replay: Mutex<Replay>,
}

impl Images {
    pub(crate) fn new(log: Log) -> Self {
        let replay = Mutex::new(Replay::new(&log));
        Self { log, replay }
    }

    /// Every point, from before the first event to after the last.
    pub fn points(&self) -> impl Iterator<Item = Point> + use<> {
        (0..=self.log.events.len()).map(Point)
    }

    /// The points just after a sync.
    pub fn sync_points(&self) -> Vec<Point> {
        let syncs = self.log.events.iter().enumerate();
        let syncs = syncs.filter(|(_, event)| matches!(event, Event::Synced { .. }));
        syncs.map(|(i, _)| Point(i + 1)).collect()
    }

    /// The points just before and just after each sync, creation and deletion, and the end:
    /// where the images differ most.
    pub fn edge_points(&self) -> Vec<Point> {
        let edges = self.log.events.iter().enumerate();
        let edges = edges.filter(|(_, event)| !matches!(event, Event::Changed { .. }));
        let edges = edges.flat_map(|(i, _)| [Point(i), Point(i + 1)]);
        edges.chain([self.end()]).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The point after the last event.
    pub fn end(&self) -> Point {
        self.log.point()
    }

    /// What happened just before a point, for a failing test's message.
    pub fn describe(&self, point: Point) -> String {
        let name = |path: &Path| path.file_name().unwrap_or_default().display().to_string();
        match point.0.checked_sub(1).and_then(|i| self.log.events.get(i)) {
            None => "the start".into(),
            Some(Event::Created { path, .. }) => format!("{} created", name(path)),
            Some(Event::Found { path, .. }) => format!("{} replaced by others", name(path)),
            Some(Event::Deleted { path, directory: false }) => format!("{} deleted", name(path)),
            Some(Event::Deleted { path, .. }) => format!("{} deleted, durably", name(path)),
            Some(Event::Changed { inode, change: Change::Write { offset, data } }) => {
                format!("{inode:?}: {} bytes written at {offset}", data.len())
            }
            Some(Event::Changed { inode, change: Change::Truncate { size } }) => {
                format!("{inode:?}: cut to {size}")
            }
            Some(Event::Synced { path, inode, .. }) => {
                format!("{} synced ({inode:?})", name(path))
            }
        }
    }

    /// The files, by their recorded paths, that a power loss at `point` leaves.
    pub fn image(&self, point: Point, unsynced: Unsynced) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut replay = self.replay.lock();
        if replay.at > point.0 {
            *replay = Replay::new(&self.log);
        }
        let rest = self.log.events.get(replay.at..point.0).unwrap_or_default();
        for event in rest {
            replay.step(event);
        }
        replay.image(unsynced)
    }

    /// Writes the image's files into `dir`, under their own file names, and removes what an
    /// earlier image or its opening left there under these names, `-shm` included.
    ///
    /// Fails if two recorded files have one file name.
    pub fn write_image(
        &self,
        dir: impl AsRef<Path>,
        point: Point,
        unsynced: Unsynced,
    ) -> io::Result<()> {
        let dir = dir.as_ref();
        let mut names = BTreeMap::new();
        for path in self.paths() {
            let name = path.file_name().unwrap_or_default().to_owned();
            if names.insert(name, path).is_some_and(|other| other != path) {
                let text = format!("two recorded files are called {}", path.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
        }
        for name in names.keys() {
            for suffix in ["", "-wal", "-shm", "-journal"] {
                let mut name: OsString = name.clone();
                name.push(suffix);
                match fs::remove_file(dir.join(name)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        for (path, content) in self.image(point, unsynced) {
            fs::write(dir.join(path.file_name().unwrap_or_default()), content)?;
        }
        Ok(())
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        let found = self.log.baseline.iter().map(|(path, ..)| path.as_path());
        found.chain(self.log.events.iter().filter_map(|event| match event {
            Event::Created { path, .. } | Event::Found { path, .. } => Some(path.as_path()),
            _ => None,
        }))
    }
}

/// The disk at a moment: what is durable of each file and name, and what is not yet.
struct Replay {
    at: usize,
    files: HashMap<Inode, File>,
    names: BTreeMap<PathBuf, Name>,
}

#[derive(Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<(usize, Change)>,
}

#[derive(Default)]
struct Name {
    durable: Option<Inode>,
    pending: Vec<(usize, Option<Inode>)>,
}

impl Replay {
    fn new(log: &Log) -> Self {
        let mut replay = Self { at: 0, files: HashMap::new(), names: BTreeMap::new() };
        for (path, inode, content) in &log.baseline {
            replay.find(path, *inode, content);
        }
        replay
    }

    fn find(&mut self, path: &Path, inode: Inode, content: &[u8]) {
        self.files.insert(inode, File { durable: content.to_vec(), pending: Vec::new() });
        self.names.insert(path.to_owned(), Name { durable: Some(inode), pending: Vec::new() });
    }

    fn step(&mut self, event: &Event) {
        let at = self.at;
        self.at += 1;
        match event {
            Event::Found { path, inode, content } => self.find(path, *inode, content),
            Event::Created { path, inode } => {
                self.files.insert(*inode, File::default());
                self.names.entry(path.clone()).or_default().pending.push((at, Some(*inode)));
            }
            Event::Deleted { path, directory } => {
                self.names.entry(path.clone()).or_default().pending.push((at, None));
                if *directory {
                    self.sync_directory(path, self.at);
                }
            }
            Event::Changed { inode, change } => {
                if let Some(file) = self.files.get_mut(inode) {
                    file.pending.push((at, change.clone()));
                }
            }
            Event::Synced { path, inode, start, directory } => {
                if let Some(file) = self.files.get_mut(inode) {
                    file.sync(start.0);
                }
                // A file that is synced can be found again, as the usual file systems have it.
                if let Some(name) = self.names.get_mut(path) {
                    name.sync_creation(*inode);
                }
                if *directory {
                    self.sync_directory(path, start.0);
                }
            }
        }
    }

    fn sync_directory(&mut self, path: &Path, before: usize) {
        let beside = self.names.iter_mut().filter(|(name, _)| name.parent() == path.parent());
        for (_, name) in beside {
            name.sync(before);
        }
    }

    fn image(&self, unsynced: Unsynced) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut chance = Chance::new(match unsynced {
            Unsynced::Torn(seed) => seed ^ (self.at as u64).rotate_left(32),
            _ => 0,
        });
        let mut image = BTreeMap::new();
        for (path, name) in &self.names {
            let Some(inode) = name.survivor(unsynced, &mut chance) else { continue };
            let Some(file) = self.files.get(&inode) else { continue };
            image.insert(path.clone(), file.survivor(unsynced, &mut chance));
        }
        image
    }
}

impl File {
    fn sync(&mut self, before: usize) {
        let synced = self.pending.partition_point(|(at, _)| *at < before);
        for (_, change) in self.pending.drain(..synced) {
            change.apply(&mut self.durable);
        }
    }

    fn survivor(&self, unsynced: Unsynced, chance: &mut Chance) -> Vec<u8> {
        match unsynced {
            Unsynced::Dropped => self.durable.clone(),
            Unsynced::Kept => {
                let mut content = self.durable.clone();
                self.pending.iter().for_each(|(_, change)| change.apply(&mut content));
                content
            }
            Unsynced::Torn(_) => {
                let pending: Vec<&Change> = self.pending.iter().map(|(_, change)| change).collect();
                torn(&self.durable, &pending, chance)
            }
        }
    }
}

impl Name {
    fn sync(&mut self, before: usize) {
        let synced = self.pending.partition_point(|(at, _)| *at < before);
        if let Some((_, inode)) = self.pending.drain(..synced).next_back() {
            self.durable = inode;
        }
    }

    fn sync_creation(&mut self, inode: Inode) {
        let created = self.pending.iter().rev().find(|(_, held)| *held == Some(inode));
        if let Some(&(at, _)) = created {
            self.sync(at + 1);
        }
    }

    fn survivor(&self, unsynced: Unsynced, chance: &mut Chance) -> Option<Inode> {
        let kept = match unsynced {
            Unsynced::Dropped => 0,
            Unsynced::Kept => self.pending.len(),
            Unsynced::Torn(_) => chance.below(self.pending.len() + 1),
        };
        let last = kept.checked_sub(1).and_then(|i| self.pending.get(i));
        last.map_or(self.durable, |(_, inode)| *inode)
    }
}
