//! How a store is opened.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::{
    clock::HostClock,
    queue::QueueSize,
    system::{Native, System},
};

/// Where the database is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Location {
    /// A file, created with its folder when missing.
    File(PathBuf),
    /// Memory of this store alone, gone with it. Implies [`Options::exclusive`].
    Memory,
}

/// How hard SQLite pushes a commit towards the disk; see
/// <https://sqlite.org/pragma.html#pragma_synchronous>.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Synchronous {
    /// Handed to the operating system: survives the death of the VM, not a loss
    /// of power.
    Off,
    /// Synced at checkpoints: after a loss of power the file is sound, and the
    /// last commits may be missing.
    Normal,
    /// Synced at each commit: survives a loss of power.
    Full,
}

/// An older file to take over when ours does not exist.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// How its rows are laid out.
    pub schema: SourceSchema,
    /// Whether its digests must be computed anew: it was written under another
    /// OTP release, whose serialisation may differ.
    pub verify: bool,
}

/// The layouts that can be taken over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SourceSchema {
    /// The layout of the service this library replaces a part of.
    Four,
    /// Our own.
    Five,
}

/// Everything that is chosen when a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the database is.
    pub location: Location,
    /// One connection for everything and a rollback journal instead of a
    /// write-ahead log, for network file systems.
    pub exclusive: bool,
    /// How hard a commit is pushed towards the disk.
    pub synchronous: Synchronous,
    /// Bytes of bodies kept in memory after their commit.
    pub cache_bytes: usize,
    /// Read connections that may be checked out at a time.
    pub readers: usize,
    /// How long a connection stays open without use.
    pub connection_idle: Duration,
    /// Whether commits wait until somebody flushes.
    pub manual_flush: bool,
    /// The bounds of the queue.
    pub max_pending: QueueSize,
    /// Whether checkpoints are left to another process, which replicates the file by its
    /// log: none is made here, and the log stays when the file is closed. Not with
    /// [`Options::exclusive`], which has no log.
    pub external_checkpoint: bool,
    /// How long opening waits for another store of this process to let go of
    /// the file.
    pub lease_timeout: Duration,
    /// How long opening waits for another process that is opening the file.
    pub presence_timeout: Duration,
    /// How often a standby looks for changes of the writer.
    pub follow_interval: Duration,
    /// The clock of the times at which shapes are read.
    pub clock: HostClock,
    /// Whether the file says when shapes were last read.
    pub keep_ages: bool,
    /// How often that is written, besides at the end.
    pub ages_interval: Duration,
    /// Files to take over when ours does not exist: the first that is there.
    pub sources: Vec<Source>,
    /// The SQLite VFS to use instead of the platform's default.
    pub vfs: Option<String>,
    /// Whose store it is: for messages, and noted in the file.
    pub stack: String,
    /// The system besides SQLite.
    pub system: Arc<dyn System>,
}

impl Options {
    /// The defaults for this location.
    pub fn new(location: Location) -> Self {
        let exclusive = location == Location::Memory;
        Self {
            location,
            exclusive,
            synchronous: Synchronous::Off,
            cache_bytes: 4 << 20,
            readers: 4,
            connection_idle: Duration::from_secs(30),
            manual_flush: false,
            max_pending: QueueSize { ops: 250_000, bytes: 256 << 20 },
            external_checkpoint: false,
            lease_timeout: Duration::from_secs(5),
            presence_timeout: Duration::from_secs(60),
            follow_interval: Duration::from_millis(40),
            clock: HostClock::default(),
            keep_ages: true,
            ages_interval: Duration::from_secs(300),
            sources: Vec::new(),
            vfs: None,
            stack: String::new(),
            system: Arc::new(Native),
        }
    }
}
