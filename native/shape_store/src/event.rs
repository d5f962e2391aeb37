//! What a store tells its owner.

use std::{path::PathBuf, time::Duration};

use crate::{
    entry::Handle,
    file::import::Imported,
    queue::{Operation, Seq},
};

/// Something the owner of a store may want to act on or to count.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The store is open: every lookup answers, and changes are taken unless it
    /// is a standby.
    Opened {
        /// Shapes in the index.
        shapes: usize,
        /// Whether another instance has the file, so that this one follows.
        standby: bool,
        /// What was taken over from an older file.
        imported: Option<(PathBuf, Imported)>,
        /// Where a bad file was moved that was found in ours' place.
        quarantined: Option<PathBuf>,
    },
    /// The store did not open; this is its last event.
    OpenFailed {
        /// Why.
        reason: String,
    },
    /// A batch is committed.
    Committed {
        /// Operations in it.
        ops: usize,
        /// How long it took, from its first statement.
        duration: Duration,
        /// The operations whose callers wanted to be told, in order.
        log: Vec<(Operation, Handle)>,
    },
    /// A batch failed and stays at the head of the queue.
    CommitFailed {
        /// Operations in it.
        ops: usize,
        /// How long the try took.
        duration: Duration,
        /// SQLite's answer.
        reason: String,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// A batch that had failed is committed.
    Recovered {
        /// How often it failed.
        failures: u32,
        /// Since its first failure.
        after: Duration,
    },
    /// SQLite refused one operation for itself. The rest of its batch went on.
    SetAside {
        /// What it was.
        operation: Operation,
        /// Whose.
        handle: Handle,
        /// SQLite's answer.
        reason: String,
    },
    /// A caller found the queue full, the first since it had room.
    PressureStarted {
        /// Operations queued.
        ops: usize,
        /// Bytes queued.
        bytes: usize,
    },
    /// Nobody waits for room any more.
    PressureEnded {
        /// How long somebody did.
        duration: Duration,
    },
    /// The file was gone, damaged or not the one that was written, and was written anew from
    /// memory.
    Rebuilt {
        /// What was wrong with the one before.
        reason: String,
        /// Where that one is now, if there was one.
        quarantined: Option<PathBuf>,
        /// Shapes in the new one.
        shapes: usize,
        /// Shapes whose bodies could not be had, which are gone.
        lost: Vec<Handle>,
        /// A file that lists them, if there are any and it could be written.
        list: Option<PathBuf>,
    },
    /// The file has to be written anew, and could not be yet. Nothing is committed until
    /// it is.
    RebuildFailed {
        /// What is wrong with the file there is.
        problem: String,
        /// Why there is no other.
        reason: String,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// A body was damaged in the file, or is not there any more. The shape is gone.
    Lost {
        /// Whose it was.
        handle: Handle,
        /// What was found.
        reason: String,
    },
    /// The standby became the writer.
    Promoted {
        /// The epoch it writes under.
        epoch: i64,
    },
    /// Another instance became the writer, which this one follows from here on. What was
    /// queued will never be committed.
    Fenced {
        /// The epoch it had.
        epoch: i64,
        /// Operations given up.
        ops: usize,
        /// A file that lists them, if there are any and it could be written.
        list: Option<PathBuf>,
    },
    /// The writer panicked. This is its last event.
    Poisoned {
        /// The panic's message.
        message: String,
    },
    /// The store is closed, with everything committed unless it was fenced. This
    /// is its last event.
    Closed {
        /// The durable number.
        durable: Seq,
    },
}

/// Hears the events. Called on any thread that the store or its callers use; it must not
/// block.
pub type Events = Box<dyn Fn(Event) + Send + Sync>;
