//! One change of the index, on its way to SQLite.

use std::sync::Arc;

use crate::{
    cache::body::Body,
    entry::{Handle, RowId, Snapshot},
    index::{Index, slab::EntryId},
};

/// What a queued operation costs apart from its body, in bytes: its place in the
/// queue and in the pending map.
const OVERHEAD: usize = 128;

/// One change of the index, as the writer will repeat it on SQLite.
pub(crate) enum Change {
    Add {
        row: RowId,
        id: EntryId,
        /// Those it was added with; flags set since come with a change of their own.
        flags: u8,
        body: Body,
    },
    Remove {
        row: RowId,
        handle: Arc<[u8]>,
    },
    Snapshot {
        row: RowId,
        id: EntryId,
        snapshot: Snapshot,
    },
    /// The flags of some rows.
    Flags(Box<[(RowId, u8)]>),
    /// What all flags mean from here on.
    FlagsVersion(Box<str>),
    /// All rows below this one go.
    Reset {
        below: RowId,
    },
    /// A remove or mark of a handle that no shape had: it takes its turn, costs
    /// SQLite nothing, and is reported.
    Unknown {
        operation: Operation,
        handle: Box<[u8]>,
    },
}

/// The kinds of operation, as reports name them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// A shape added.
    Add,
    /// A shape removed.
    Remove,
    /// A snapshot begun.
    SnapshotStarted,
    /// A snapshot finished.
    SnapshotComplete,
    /// Flags set.
    Flags,
    /// Everything removed.
    Reset,
}

impl Operation {
    /// What it is called in lists.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::SnapshotStarted => "snapshot_started",
            Self::SnapshotComplete => "snapshot_complete",
            Self::Flags => "flags",
            Self::Reset => "reset",
        }
    }
}

impl From<Snapshot> for Operation {
    fn from(snapshot: Snapshot) -> Self {
        match snapshot {
            Snapshot::Complete => Self::SnapshotComplete,
            _ => Self::SnapshotStarted,
        }
    }
}

impl Change {
    pub(crate) fn operation(&self) -> Operation {
        match self {
            Self::Add { .. } => Operation::Add,
            Self::Remove { .. } => Operation::Remove,
            Self::Snapshot { snapshot, .. } => (*snapshot).into(),
            Self::Flags(_) | Self::FlagsVersion(_) => Operation::Flags,
            Self::Reset { .. } => Operation::Reset,
            Self::Unknown { operation, .. } => *operation,
        }
    }

    /// Whose it is, as far as that is still known.
    pub(crate) fn handle(&self, index: &Index) -> Handle {
        match self {
            Self::Add { row, id, .. } | Self::Snapshot { row, id, .. } => {
                let entry = index.get(*id).filter(|entry| entry.row == *row);
                entry.map(|entry| entry.handle).unwrap_or_default()
            }
            Self::Remove { handle, .. } => Handle::from_slice(handle),
            Self::Unknown { handle, .. } => Handle::from_slice(handle),
            Self::Flags(_) | Self::FlagsVersion(_) | Self::Reset { .. } => Handle::new(),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        OVERHEAD
            + match self {
                Self::Add { body, .. } => body.len(),
                Self::Remove { handle, .. } => handle.len(),
                Self::Unknown { handle, .. } => handle.len(),
                Self::Flags(rows) => size_of_val::<[(RowId, u8)]>(rows),
                Self::FlagsVersion(_) | Self::Snapshot { .. } | Self::Reset { .. } => 0,
            }
    }
}

/// The bytes an add of a body of this length will count for.
pub(crate) fn add_bytes(body: usize) -> usize {
    OVERHEAD + body
}
