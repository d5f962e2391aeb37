//! The changes on their way to SQLite, in the order the index took them.
//!
//! The queue is bounded in operations and in bytes. What the writer has taken
//! but not committed still counts, and so does room promised to a waiter.

mod change;
pub(crate) mod pending;
pub(crate) mod ticket;
pub(crate) mod waits;

use std::collections::{BTreeMap, HashMap, VecDeque};

pub use self::change::Operation;
pub(crate) use self::change::{Change, add_bytes};
use crate::{Notify, entry::RowId, index::slab::FreeIds};

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
    pub(crate) free: FreeIds,
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

struct InLine {
    wants: QueueSize,
    notify: Notify<()>,
}

impl Queue {
    pub(crate) fn new(bound: QueueSize) -> Self {
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

    pub(crate) fn size(&self) -> QueueSize {
        self.totals.size
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
            _ => self.in_line.is_empty() && has_room(self.totals.size, self.bound, bytes),
        }
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

    /// Stands in line for room. `notify` is called once there is room for it and
    /// all before it.
    pub(crate) fn stand_in_line(&mut self, bytes: usize, notify: Notify<()>) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.in_line.insert(ticket, InLine { wants: QueueSize { ops: 1, bytes }, notify });
        ticket
    }

    /// Whether anybody stands in line.
    pub(crate) fn has_waiters(&self) -> bool {
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
            if !has_room(self.totals.size, self.bound, wants.bytes) {
                break;
            }
            let (ticket, first) = first.remove_entry();
            self.totals.size.ops += wants.ops;
            self.totals.size.bytes += wants.bytes;
            self.granted.insert(ticket, wants);
            told.push(first.notify);
        }
        told
    }

    /// Ends a ticket: its promise is used up or given up, or its place in line.
    pub(crate) fn end_ticket(&mut self, ticket: u64) {
        if let Some(promised) = self.granted.remove(&ticket) {
            self.totals.size.ops -= promised.ops;
            self.totals.size.bytes -= promised.bytes;
        } else {
            self.leave_line(ticket);
        }
    }

    /// Gives up a place in line; false for a ticket that has left it already.
    pub(crate) fn leave_line(&mut self, ticket: u64) -> bool {
        self.in_line.remove(&ticket).is_some()
    }

    /// Empties the line, and gives whom to tell: for a store that takes no more changes.
    pub(crate) fn dismiss(&mut self) -> Vec<Notify<()>> {
        std::mem::take(&mut self.in_line).into_values().map(|one| one.notify).collect()
    }
}

fn has_room(size: QueueSize, bound: QueueSize, bytes: usize) -> bool {
    size.ops < bound.ops && size.bytes + bytes <= bound.bytes
}
