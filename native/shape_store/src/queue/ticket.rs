//! A caller's place in the line for room.

use std::sync::Arc;

use crate::shared::Shared;

/// A place in the line for room in the queue. Dropping it gives the place, or
/// the room, to the next.
pub struct Ticket {
    pub(crate) shared: Arc<Shared>,
    pub(crate) number: u64,
}

impl Ticket {
    /// Ends the wait. False when its turn had come, so that its notification was
    /// sent or is about to be.
    pub fn give_up(self) -> bool {
        self.shared.queue.lock().leave_line(self.number)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.queue.lock().end_ticket(self.number);
        self.shared.grant_room();
    }
}
