//! What can go wrong, one enum an operation. Their texts put what SQLite and the system
//! say into words, see [`crate::worded`].

use std::path::PathBuf;

use thiserror::Error;

use crate::{
    entry::Handle,
    error_text::{system, worded, worded_opening},
};

/// Why a change was not taken. Nothing of it has happened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The handle of an add is taken.
    #[error("the handle is taken")]
    DuplicateHandle,
    /// A shape equal to the one of an add is there, under this handle.
    #[error("an equal shape is there")]
    DuplicateShape(Handle),
    /// No shape has the handle.
    #[error("no shape has this handle")]
    Unknown,
    /// The queue has no room now; see [`crate::Store::wait_for_room`].
    #[error("the write queue is full")]
    Full,
    /// The change alone is larger than the queue's bound in bytes.
    #[error("a change of {bytes} bytes does not fit a queue bounded at {bound} bytes")]
    TooLarge {
        /// What it would count for.
        bytes: usize,
        /// `max_pending_bytes`.
        bound: usize,
    },
    /// A handle is empty or longer than [`crate::MAX_HANDLE`].
    #[error("a handle has 1 to {max} bytes, this one {len}", max = crate::MAX_HANDLE)]
    HandleLength {
        /// Its length in bytes.
        len: usize,
    },
    /// A shape has more relations than [`crate::MAX_OIDS`].
    #[error("a shape has at most {max} relations, this one {count}", max = crate::MAX_OIDS)]
    TooManyRelations {
        /// How many it has.
        count: usize,
    },
    /// 2^31 shapes are there.
    #[error("the index is full")]
    IndexFull,
    /// The store takes no changes, for this reason.
    #[error(transparent)]
    NotWritable(#[from] NotWritable),
}

/// Why a store takes no changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum NotWritable {
    /// Another instance was there when it opened; see [`crate::Store::promote`].
    #[error("the store follows another writer of its file")]
    Standby,
    /// Another instance became the writer of its file.
    #[error("another instance became the writer of the file")]
    Fenced,
    /// It is still opening.
    #[error("the store is opening")]
    Opening,
    /// It is closed or closing.
    #[error("the store is closed")]
    Closed,
    /// Its writer died.
    #[error("the writer of the store died")]
    Poisoned,
}

/// Why a store did not open.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Options that do not go together.
    #[error("{0}")]
    Options(&'static str),
    /// Another store of this VM has the file, and did not close in time, or does not intend
    /// to.
    #[error(
        "{} is open in another store of this VM, {holder}, which did not close within \
         {waited_ms} ms", path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
        /// Whose store that is.
        holder: String,
        /// How long was waited.
        waited_ms: u128,
    },
    /// Another process is opening the file, and did not finish in time.
    #[error("{} is being opened by another process, which takes long", path.display())]
    Opening {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {what} {}: {}", path.display(), system(source))]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// SQLite refused.
    #[error("cannot open {}: {}", path.display(), worded_opening(source, path))]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// SQLite's answer.
        source: rusqlite::Error,
    },
    /// An older file could not be taken over. It is as it was.
    #[error(
        "cannot take over {}: {reason}; the file is untouched: move it away to start empty, or \
         start the version that wrote it", path.display()
    )]
    Import {
        /// The older file.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// A later version of this library wrote the file.
    #[error(
        "{} has schema {version}, and this version knows schema {known}: start the version that \
         wrote it, or move the file away to start empty; it is as it was", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        version: i64,
        /// Ours.
        known: i64,
    },
    /// Another instance on the file does not have the same mode.
    #[error(
        "{} is open {theirs} in another instance ({holder}), and this one would open it {ours}: \
         two instances on one file need the same exclusive_mode", path.display()
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// How this one would have it.
        ours: &'static str,
        /// How the other has it.
        theirs: &'static str,
        /// Who that is.
        holder: String,
    },
    /// Another instance has the file, and it could not be followed.
    #[error("{} cannot be followed, which another instance ({holder}) has: {reason}", path.display())]
    Unfollowed {
        /// The file.
        path: PathBuf,
        /// Who has it.
        holder: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another file took its place while it was opened.
    #[error("{} was exchanged while it was opened: start again", path.display())]
    Exchanged {
        /// The file.
        path: PathBuf,
    },
    /// It was closed before it was open.
    #[error("the store was closed before it was open")]
    Closed,
    /// A thread of the store could not be started.
    #[error("cannot start a thread of the store: {}", system(.0))]
    Thread(std::io::Error),
}

/// Why a body could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// SQLite refused.
    #[error("reading from SQLite failed: {}", worded(.0))]
    Sqlite(#[from] rusqlite::Error),
    /// The file at the store's path is not the one that it wrote, or cannot be told. The
    /// writer looks into it.
    #[error("the shape database is not to be read now: {0}")]
    NotOurs(String),
    /// It would wait for the connection that the asker has on loan.
    #[error("whoever asked has the connection that would read it")]
    Borrowed,
    /// The store is closed, or was never open.
    #[error("the store is closed")]
    Closed,
}
