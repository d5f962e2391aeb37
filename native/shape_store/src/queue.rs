//! The changes on their way to SQLite, in the order the index took them.
//!
//! The queue is bounded in operations and in bytes. What the writer has taken
//! but not committed still counts, and so does room promised to a waiter.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use crate::{
    Notify,
    body::Body,
    entry::{Handle, RowId, Snapshot},
    index::Index,
    slab::{EntryId, FreeIds},
};

/// The number of a change. The first is 1; a change is durable when the store's
/// durable number has reached it.
pub type Seq = u64;

/// What a queued operation costs apart from its body, in bytes: its place here
/// and in the pending map.
const OVERHEAD: usize = 128;

/// One change of the index, as the writer will repeat it on SQLite.
pub(crate) enum Change {
    Add {
        row: RowId,
        id: EntryId,
        /// As it was added with; what was set since comes with its own change.
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

pub(crate) struct Queued {
    pub(crate) change: Change,
    /// Whether its caller wants the commit told by name.
    pub(crate) log: bool,
}

/// The bounds, and the counts of all that is not committed.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Load {
    /// Operations.
    pub ops: usize,
    /// Bytes: bodies, handles and a fixed amount an operation.
    pub bytes: usize,
}

/// What the mutation lock guards: the right to change the index, and the queue.
pub(crate) struct Queue {
    pub(crate) free: FreeIds,
    pub(crate) next_row: RowId,
    waiting: VecDeque<Queued>,
    last: Seq,
    bound: Load,
    /// Of all that is not committed, promised room included.
    totals: Totals,
    /// By ticket: first come, first served.
    in_line: BTreeMap<u64, InLine>,
    granted: HashMap<u64, Load>,
    next_ticket: u64,
}

/// The sums over some changes.
#[derive(Default)]
pub(crate) struct Totals {
    load: Load,
    adds: usize,
    removes: usize,
}

impl Totals {
    pub(crate) fn count(&mut self, change: &Change) {
        self.load.ops += 1;
        self.load.bytes += change.bytes();
        match change.operation() {
            Operation::Add => self.adds += 1,
            Operation::Remove => self.removes += 1,
            _ => {}
        }
    }
}

struct InLine {
    wants: Load,
    notify: Notify<()>,
}

impl Queue {
    pub(crate) fn new(bound: Load) -> Self {
        Self {
            free: FreeIds::default(),
            next_row: 1,
            waiting: VecDeque::new(),
            last: 0,
            bound,
            totals: Totals::default(),
            in_line: BTreeMap::new(),
            granted: HashMap::new(),
            next_ticket: 0,
        }
    }

    pub(crate) fn last(&self) -> Seq {
        self.last
    }

    pub(crate) fn load(&self) -> Load {
        self.totals.load
    }

    /// Queued adds less queued removes.
    pub(crate) fn count_diff(&self) -> i64 {
        self.totals.adds as i64 - self.totals.removes as i64
    }

    /// Whether an operation of this many bytes may enter, with this ticket or
    /// none. One that came with a granted ticket always may; one without stands
    /// behind those in line.
    pub(crate) fn admits(&self, bytes: usize, ticket: Option<u64>) -> bool {
        match ticket {
            Some(ticket) if self.granted.contains_key(&ticket) => true,
            _ => self.in_line.is_empty() && has_room(self.totals.load, self.bound, bytes),
        }
    }

    pub(crate) fn push(&mut self, change: Change, log: bool) -> Seq {
        self.totals.count(&change);
        self.waiting.push_back(Queued { change, log });
        self.last += 1;
        self.last
    }

    /// Gives a number to nothing.
    pub(crate) fn skip(&mut self) -> Seq {
        self.last += 1;
        self.last
    }

    /// Everything that waits, at once; the counts stay until [`Self::release`].
    pub(crate) fn take(&mut self) -> VecDeque<Queued> {
        std::mem::take(&mut self.waiting)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The writer is done with as much as this, which it has summed up outside the
    /// lock.
    pub(crate) fn release(&mut self, done: &Totals) {
        self.totals.load.ops -= done.load.ops;
        self.totals.load.bytes -= done.load.bytes;
        self.totals.adds -= done.adds;
        self.totals.removes -= done.removes;
    }

    /// Stands in line for room. `notify` is called once there is room for it and
    /// all before it.
    pub(crate) fn stand_in_line(&mut self, bytes: usize, notify: Notify<()>) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.in_line.insert(ticket, InLine { wants: Load { ops: 1, bytes }, notify });
        ticket
    }

    /// Whether anybody stands in line.
    pub(crate) fn is_pressed(&self) -> bool {
        !self.in_line.is_empty()
    }

    /// How many stand in line.
    pub(crate) fn in_line(&self) -> usize {
        self.in_line.len()
    }

    /// Promises the room there is to those first in line, and gives whom to
    /// tell once the lock is released.
    #[must_use]
    pub(crate) fn grant(&mut self) -> Vec<Notify<()>> {
        let mut told = Vec::new();
        while let Some(first) = self.in_line.first_entry() {
            let wants = first.get().wants;
            if !has_room(self.totals.load, self.bound, wants.bytes) {
                break;
            }
            let (ticket, first) = first.remove_entry();
            self.totals.load.ops += wants.ops;
            self.totals.load.bytes += wants.bytes;
            self.granted.insert(ticket, wants);
            told.push(first.notify);
        }
        told
    }

    /// Ends a ticket: its promise is used up or given up, or its place in line.
    pub(crate) fn end_ticket(&mut self, ticket: u64) {
        if let Some(promised) = self.granted.remove(&ticket) {
            self.totals.load.ops -= promised.ops;
            self.totals.load.bytes -= promised.bytes;
        } else {
            self.leave_line(ticket);
        }
    }

    /// Gives up a place in line; false for a ticket that has left it already.
    pub(crate) fn leave_line(&mut self, ticket: u64) -> bool {
        self.in_line.remove(&ticket).is_some()
    }

    /// Everybody in line, told nothing: for a store that takes no more.
    pub(crate) fn dismiss(&mut self) -> Vec<Notify<()>> {
        std::mem::take(&mut self.in_line).into_values().map(|one| one.notify).collect()
    }
}

fn has_room(load: Load, bound: Load, bytes: usize) -> bool {
    load.ops < bound.ops && load.bytes + bytes <= bound.bytes
}
