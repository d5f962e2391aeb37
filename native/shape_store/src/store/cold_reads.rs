//! Reads of bodies that are not in memory. Nobody waits here: who asks is told.
//!
//! Requests of a store stand in one line. A few *turns* at a time, no more than the store
//! keeps read connections, take what is first in it, each in one transaction, on the threads
//! that [`System::background`] has for such work: a stalled disk holds up these, and none of
//! the caller's. In exclusive mode the writer has the only connection, and reads between two
//! batches. It also reads what a reader could not, since it sees to the file first.
//!
//! [`System::background`]: crate::System::background

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rusqlite::Connection;

use super::Store;
use crate::{
    Notify,
    entry::Entry,
    error::ReadError,
    shared::Shared,
    state::State,
    writer::command::{BodyRequest, Command, ReadBodies, Reply},
};

/// A turn is over with the request that brings it to so many bodies, so that the turns of
/// other stores come, and a list does not keep those behind it.
const TURN: usize = 32;

/// Who asks for bodies.
pub struct Asker {
    /// Whether they have the writer's connection on loan, and must not wait for it.
    pub has_writer: bool,
    /// Whether they still want an answer; asked before bodies are read.
    pub is_wanting: Box<dyn Fn() -> bool + Send>,
}

impl Default for Asker {
    fn default() -> Self {
        Self { has_writer: false, is_wanting: Box::new(|| true) }
    }
}

const LONG: Duration = Duration::from_millis(1);

#[derive(Default)]
pub(crate) struct ColdReads(Mutex<Line>);

#[derive(Default)]
struct Line {
    waiting: VecDeque<BodyRequest>,
    turns: usize,
}

impl Line {
    /// What the next turn reads: its share, so that others read beside it from a slow disk.
    fn take(&mut self, turns: usize) -> VecDeque<BodyRequest> {
        let share = self.waiting.len().div_ceil(turns);
        let mut bodies = 0;
        let end = self.waiting.iter().take(share).position(|request| {
            bodies += request.entries.len();
            bodies >= TURN
        });
        let rest = self.waiting.split_off(end.map_or(share, |end| end + 1));
        std::mem::replace(&mut self.waiting, rest)
    }
}

impl Store {
    /// Asks for the bodies of shapes from the file: of the first of them, up to a bound in
    /// bytes, and of one at least. There is none for a shape that is gone, or lost as its
    /// body is damaged. The body of one that is asked for alone is kept warm.
    ///
    /// Where the reading fails, or the mode is exclusive, the writer reads, and while the file
    /// is written anew the answer waits for that.
    pub fn ask_bodies(&self, entries: Vec<Entry>, asker: Asker, notify: Notify<ReadBodies>) {
        let reply = Reply::new(notify, || Err(ReadError::Closed));
        let request = BodyRequest { entries, asker, reply };
        if self.shared.options.exclusive {
            return self.shared.read_by_writer(request, ReadError::Borrowed);
        }
        let begins = {
            let mut line = self.shared.cold_reads.0.lock();
            line.waiting.push_back(request);
            // One reader is enough for what it reads as soon as it comes.
            let begins = line.waiting.len() > line.turns && line.turns < self.shared.turns();
            line.turns += usize::from(begins);
            begins
        };
        if begins {
            Turn(Arc::clone(&self.shared)).begin();
        }
    }

    /// How many requests for bodies wait for a turn.
    pub fn waiting_reads(&self) -> usize {
        self.shared.cold_reads.0.lock().waiting.len()
    }
}

/// One of those that the line counts. However it ends, the next begins if there is
/// something to read.
struct Turn(Arc<Shared>);

impl Turn {
    fn begin(self) {
        let system = Arc::clone(&self.0.options.system);
        system.background(Box::new(move || {
            let shared = &self.0;
            let end = Instant::now() + LONG;
            while {
                let requests = shared.cold_reads.0.lock().take(shared.turns());
                let more = !requests.is_empty();
                shared.read_all(requests);
                more && Instant::now() < end
            } {}
        }));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let ends = {
            let mut line = self.0.cold_reads.0.lock();
            let ends = line.waiting.is_empty();
            line.turns -= usize::from(ends);
            ends
        };
        if !ends {
            Self(Arc::clone(&self.0)).begin();
        }
    }
}

impl Shared {
    /// How many turns there are at a time.
    fn turns(&self) -> usize {
        self.options.readers.max(1)
    }

    fn read_all(&self, mut requests: VecDeque<BodyRequest>) {
        while !requests.is_empty() {
            // Asked for before a reader is had: what that reads is of this database, or of
            // one before, whose bodies nobody asks for.
            let database = self.cache.database();
            let read = self.read(|conn| {
                // One transaction for all: each read by itself would lock the file anew.
                let many = requests.iter().map(|request| request.entries.len()).sum::<usize>() > 1;
                let _snapshot = many.then(|| conn.unchecked_transaction()).transpose()?;
                while let Some(first) = requests.front() {
                    let wanted = (first.asker.is_wanting)();
                    let read = wanted.then(|| self.read_stored(conn, database, &first.entries));
                    let read = read.transpose()?;
                    if let (Some(first), Some(read)) = (requests.pop_front(), read) {
                        first.reply.send(Ok(read));
                    }
                }
                Ok(())
            });
            if let (Err(error), Some(failed)) = (read, requests.pop_front()) {
                self.read_by_writer(failed, error);
            }
        }
    }

    /// Has the writer read what is not read for this reason.
    fn read_by_writer(&self, request: BodyRequest, reason: ReadError) {
        match request.asker.has_writer {
            true => request.reply.send(Err(reason)),
            // Dropped by a writer that is gone, it is answered.
            false => drop(self.mail.send(Command::Read(request))),
        }
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, ReadError> {
        if matches!(self.state(), State::Closed | State::Poisoned) {
            return Err(ReadError::Closed);
        }
        self.readers.with(read).inspect_err(|error| self.suspect(error))
    }
}
