//! The changes on their way to SQLite, in the order the index took them.
//!
//! The queue is bounded in operations and in bytes. What the writer has taken
//! but not committed still counts, and so does room promised to a waiter.

mod change;
pub(crate) mod durable;
pub(crate) mod pending;
mod removals;
mod room;
mod shards;
pub(crate) mod ticket;

use std::collections::{BTreeMap, HashMap, VecDeque};

pub use self::change::Operation;
pub(crate) use self::change::{Change, add_bytes};
use self::room::InLine;
use crate::{
    entry::RowId,
    index::mutator::Mutator,
    writer::batch::{MAX_BYTES, MAX_OPS},
};

/// The number of a change. The first is 1; a change is durable when the store's
/// durable number has reached it.
pub type Seq = u64;

pub(crate) struct Queued {
    pub(crate) change: Change,
    /// Whether its caller wants the commit told by name.
    pub(crate) log: bool,
}

/// The bounds, and the counts of all that is not committed.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct QueueSize {
    /// Operations.
    pub ops: usize,
    /// Bytes: bodies, handles and a fixed amount an operation.
    pub bytes: usize,
}

/// What the mutation lock guards: the right to change the index, and the queue.
pub(crate) struct Queue {
    pub(crate) mutator: Mutator,
    pub(crate) next_row: RowId,
    waiting: VecDeque<Queued>,
    last: Seq,
    bound: QueueSize,
    /// Of all that is not committed, promised room included.
    totals: Totals,
    /// By ticket: first come, first served.
    in_line: BTreeMap<u64, InLine>,
    granted: HashMap<u64, QueueSize>,
    next_ticket: u64,
}

/// The sums over some changes.
#[derive(Default)]
pub(crate) struct Totals {
    size: QueueSize,
    adds: usize,
    removes: usize,
}

impl Totals {
    pub(crate) fn count(&mut self, change: &Change) {
        self.size.ops += 1;
        self.size.bytes += change.bytes();
        match change.operation() {
            Operation::Add => self.adds += 1,
            Operation::Remove => self.removes += 1,
            _ => {}
        }
    }
}

impl Queue {
    pub(crate) fn new(bound: QueueSize) -> Self {
        Self {
            mutator: Mutator::default(),
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

    pub(crate) fn size(&self) -> QueueSize {
        self.totals.size
    }

    /// Queued adds less queued removes.
    pub(crate) fn count_diff(&self) -> i64 {
        self.totals.adds as i64 - self.totals.removes as i64
    }

    /// Whether what is not committed is more than goes into one batch.
    pub(crate) fn fills_batch(&self) -> bool {
        self.totals.size.ops >= MAX_OPS || self.totals.size.bytes >= MAX_BYTES
    }

    pub(crate) fn push(&mut self, change: Change, log: bool) -> Seq {
        self.totals.count(&change);
        self.waiting.push_back(Queued { change, log });
        self.last += 1;
        self.last
    }

    /// Gives a number to no change.
    pub(crate) fn skip(&mut self) -> Seq {
        self.last += 1;
        self.last
    }

    /// Takes everything that waits, at once; the counts stay until [`Self::release`].
    pub(crate) fn take(&mut self) -> VecDeque<Queued> {
        std::mem::take(&mut self.waiting)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The writer is done with as much as this, which it has summed up outside the
    /// lock.
    pub(crate) fn release(&mut self, done: &Totals) {
        self.totals.size.ops -= done.size.ops;
        self.totals.size.bytes -= done.size.bytes;
        self.totals.adds -= done.adds;
        self.totals.removes -= done.removes;
    }
}
