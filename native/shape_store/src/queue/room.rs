//! Room in the queue: who may enter, and the line of those who wait until they may.

use super::{Queue, QueueSize};
use crate::Notify;

pub(super) struct InLine {
    wants: QueueSize,
    notify: Notify<()>,
}

impl Queue {
    /// Whether an operation of this many bytes may enter, with this ticket or
    /// none. One that came with a granted ticket always may; one without stands
    /// behind those in line.
    pub(crate) fn admits(&self, bytes: usize, ticket: Option<u64>) -> bool {
        match ticket {
            Some(ticket) if self.granted.contains_key(&ticket) => true,
            _ => self.in_line.is_empty() && has_room(self.totals.size, self.bound, bytes),
        }
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
