//! How instances on one file know of each other, and take turns at changing it.
//!
//! Two lock files beside the database, whose locks the kernel gives up when their process
//! dies. Every instance shares that of *presence* for as long as it lives: who gets it
//! alone is alone. The *turn* is had alone by whoever opens the file first, becomes its
//! writer or puts another in its place, and shared by a batch: so none of the former
//! happens in the middle of one of the others. Presence is asked for alone only in turn,
//! so between giving it up and sharing it nobody finds it free.
//!
//! Where the file system cannot lock, one who opens counts as alone and has every turn:
//! most are, and the epoch in the file keeps two from writing.

use std::{
    io,
    path::{Path, PathBuf},
};

use tracing::warn;

use super::beside;
use crate::{
    error::OpenError,
    error_text::system,
    system::{LockFile, System},
};

pub(crate) struct Locks {
    files: Option<Files>,
    /// Whether a lock was had before: then the file system can lock, and a failure may pass.
    proven: bool,
}

struct Files {
    presence: Named,
    turn: Named,
}

struct Named {
    path: PathBuf,
    lock: Box<dyn LockFile>,
}

/// Whether other instances have the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Presence {
    Alone,
    /// Others are there; and what the instance that was alone last says of itself.
    Shared(String),
}

/// Begins the line that tells the epoch.
const EPOCH: &str = "epoch ";

impl Locks {
    /// The locks of a store that shares nothing: it has none.
    pub(crate) fn none() -> Self {
        Self { files: None, proven: false }
    }

    /// Opens the lock files beside a database.
    pub(crate) fn open(system: &dyn System, database: &Path) -> Result<Self, OpenError> {
        let presence = Named::open(system, beside(database, ".lock"))?;
        let turn = Named::open(system, beside(database, ".turn"))?;
        Ok(Self { files: Some(Files { presence, turn }), proven: false })
    }

    /// Takes the turn, if nobody has it, alone or in a batch.
    pub(crate) fn try_turn(&mut self) -> bool {
        self.of_turn(|lock| lock.try_exclusive())
    }

    /// Keeps those who want the turn out during a batch; false while one has it.
    pub(crate) fn try_batch(&mut self) -> bool {
        self.of_turn(|lock| lock.try_shared())
    }

    /// Ends a turn or a batch.
    pub(crate) fn end(&mut self) {
        self.of_turn(|lock| lock.unlock().map(|()| true));
    }

    fn of_turn(&mut self, take: impl FnOnce(&dyn LockFile) -> io::Result<bool>) -> bool {
        let Some(files) = &self.files else { return true };
        match take(&*files.turn.lock) {
            Ok(taken) => {
                self.proven |= taken;
                taken
            }
            Err(_) if self.proven => false,
            Err(error) => {
                let path = files.turn.path.display();
                warn!(%path, reason = %system(&error), "this file system cannot lock");
                self.files = None;
                true
            }
        }
    }

    /// Announces this instance, which says so of itself, and tells whether it is alone.
    /// Call it in turn.
    pub(crate) fn announce(&mut self, says: &str) -> Result<Presence, OpenError> {
        let Some(files) = &self.files else { return Ok(Presence::Alone) };
        let Named { path, lock } = &files.presence;
        let failed = |source| OpenError::Io { what: "lock", path: path.clone(), source };
        let alone = match lock.try_exclusive() {
            Ok(alone) => alone,
            Err(source) if self.proven => return Err(failed(source)),
            Err(error) => {
                warn!(path = %path.display(), reason = %system(&error), "this file system cannot lock");
                self.files = None;
                return Ok(Presence::Alone);
            }
        };
        let presence = match alone {
            true => {
                lock.write(says).map_err(failed)?;
                Presence::Alone
            }
            false => Presence::Shared(lock.read().map_err(failed)?),
        };
        // Nobody else can have it alone: that takes the turn.
        lock.try_shared().map_err(failed)?;
        Ok(presence)
    }

    /// Whether any instance is there, and what the one says of itself that was alone last.
    /// Call it in turn: for the moment it takes, nobody else can announce itself.
    pub(crate) fn look(&self) -> io::Result<Presence> {
        let Some(files) = &self.files else { return Ok(Presence::Alone) };
        let lock = &files.presence.lock;
        match lock.try_exclusive() {
            Ok(true) => lock.unlock().map(|()| Presence::Alone),
            Ok(false) => lock.read().map(Presence::Shared),
            Err(error) => Err(error),
        }
    }

    /// Tells the other instances who writes the file from here on.
    pub(crate) fn say_epoch(&self, says: &str, epoch: i64) {
        if let Some(files) = &self.files {
            // For messages and a quick look: the file itself says who writes it.
            let _ = files.presence.lock.write(&format!("{says}{EPOCH}{epoch}\n"));
        }
    }

    /// The epoch that was told last.
    pub(crate) fn told_epoch(&self) -> Option<i64> {
        let said = self.files.as_ref()?.presence.lock.read().ok()?;
        said.lines().find_map(|line| line.strip_prefix(EPOCH)?.parse().ok())
    }

    /// Whether the lock files have been removed or replaced: then this instance cannot be
    /// seen by others.
    pub(crate) fn are_lost(&self, system: &dyn System) -> io::Result<bool> {
        let Some(files) = &self.files else { return Ok(false) };
        Ok(files.presence.is_lost(system)? || files.turn.is_lost(system)?)
    }
}

impl Named {
    fn open(system: &dyn System, path: PathBuf) -> Result<Self, OpenError> {
        match system.lock_file(&path) {
            Ok(lock) => Ok(Self { path, lock }),
            Err(source) => Err(OpenError::Io { what: "open", path, source }),
        }
    }

    fn is_lost(&self, system: &dyn System) -> io::Result<bool> {
        let there = system.stat(&self.path)?;
        Ok(there.map(|there| there.id) != Some(self.lock.id()?))
    }
}
