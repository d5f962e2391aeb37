//! Waiting: for a number to be durable, for room, and for a connection.

use std::sync::Arc;

use super::Store;
use crate::{
    Notify,
    queue::{
        self, Seq,
        durable::{Outcome, WaitId, Waiting},
        ticket::Ticket,
    },
    store::lease::Granted,
};

impl Store {
    /// The number of the last change.
    pub fn last(&self) -> Seq {
        self.shared.queue.lock().last()
    }

    /// The highest number such that it and all before it are committed.
    pub fn durable(&self) -> Seq {
        self.shared.waits.durable()
    }

    /// Has `notify` told when this number is durable, or never will be.
    pub fn wait(&self, seq: Seq, notify: Notify<Outcome>) -> Waiting {
        self.shared.waits.wait(seq, notify)
    }

    /// Takes a wait back. False when the notification is on its way.
    pub fn cancel_wait(&self, id: WaitId) -> bool {
        self.shared.waits.cancel(id)
    }

    /// Lets the writer go as far as this number even while flushing is paused or
    /// manual, and at once: whoever waits for a number says so here.
    pub fn flush_to(&self, seq: Seq) {
        self.shared.gate.flush_to(seq);
        self.shared.mail.wake_now();
    }

    /// Pauses or resumes the writer. What is committed by then stays so.
    pub fn pause(&self, paused: bool) {
        self.shared.gate.hold(paused);
        self.shared.mail.wake();
    }

    /// Puts a caller in line for room for an add with a body of this many bytes. `notify`
    /// is called when there is room, and also when there will never be any: the change
    /// then says why. `None` when there is room now.
    pub fn wait_for_room(&self, body: usize, notify: Notify<()>) -> Option<Ticket> {
        let bytes = queue::add_bytes(body);
        let (number, load) = {
            let mut queue = self.shared.queue.lock();
            if queue.admits(bytes, None) || self.shared.state().writable().is_err() {
                return None;
            }
            (queue.stand_in_line(bytes, notify), queue.size())
        };
        self.shared.mail.wake_now();
        self.shared.pressure_began(load.ops, load.bytes);
        Some(Ticket { shared: Arc::clone(&self.shared), number })
    }

    /// Asks for a read connection. Touches the disk when one has to be opened.
    /// The number takes the request back while it stands in line.
    pub fn ask_reader(&self, notify: Notify<Granted>) -> Option<u64> {
        if self.shared.options.exclusive {
            return self.ask_writer(notify);
        }
        self.shared.readers.ask(notify)
    }

    /// Asks for the connection that writes. The queue waits while it is lent;
    /// callers do not notice.
    pub fn ask_writer(&self, notify: Notify<Granted>) -> Option<u64> {
        self.shared.ask_writer(notify)
    }

    /// Whether the writer does nothing, so that its connection can be had at once.
    pub fn is_resting(&self) -> bool {
        self.shared.mail.wake_up.is_idle()
    }

    /// Takes back a request for a reader. False when the answer is on its way.
    pub fn cancel_reader(&self, number: u64) -> bool {
        if self.shared.options.exclusive {
            return self.cancel_writer(number);
        }
        self.shared.readers.cancel(number)
    }

    /// Takes back a request for the writer. False when the answer is on its way.
    pub fn cancel_writer(&self, number: u64) -> bool {
        self.shared.writer_line.lock().cancel(number)
    }
}
