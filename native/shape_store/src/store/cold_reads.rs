//! Reads of bodies that are not in memory. Nobody waits here: who asks is told.
//!
//! Requests of a store stand in one line. A few *reads* at a time, on the threads that
//! [`System::background`] has for all stores, take what is first in it, each in one
//! transaction: a stalled disk holds up these, and no thread of the caller's. In exclusive
//! mode the writer has the only connection, and reads between two batches. It also reads
//! what could not be read here, since it sees to the file first, and what was not found,
//! since it knows whether that is because the file is another.
//!
//! [`System::background`]: crate::System::background

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
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

/// How many reads of a store go on at a time, at most. They are few among the threads that
/// there are: stores whose disk stalls leave the others enough.
const AT_ONCE: usize = 4;

/// What is taken at once ends with the request that brings it to so many bodies, so that a
/// list does not keep those behind it.
const TAKEN: usize = 32;

/// How long a read goes on taking requests before those of other stores have the thread.
const LONG: Duration = Duration::from_millis(1);

/// From a line that is longer than this, whoever joins it takes those out that are first and
/// not wanted any more, a few at most: on a disk that stalls, many run out of time.
const LONG_LINE: usize = 64;
const TAKEN_OUT: usize = 4;

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

pub(crate) struct ColdReads {
    line: Mutex<Line>,
    /// Whether the file can be read without waiting, once that is known.
    pub(super) at_once: OnceLock<bool>,
}

struct Line {
    waiting: VecDeque<BodyRequest>,
    /// How many reads go on, or are about to.
    reads: usize,
    at_once: usize,
    /// When one of them last took something from the line.
    taken: Instant,
}

impl ColdReads {
    /// For a store that keeps so many read connections.
    pub(crate) fn new(connections: usize) -> Self {
        let at_once = connections.clamp(1, AT_ONCE);
        let line = Line { waiting: VecDeque::new(), reads: 0, at_once, taken: Instant::now() };
        Self { line: Mutex::new(line), at_once: OnceLock::new() }
    }
}

impl Line {
    /// Says whether another read is to begin, and gives back what nobody wants any more.
    fn push(&mut self, request: BodyRequest) -> (bool, Vec<BodyRequest>) {
        self.waiting.push_back(request);
        let mut unwanted = Vec::new();
        while self.waiting.len() > LONG_LINE
            && unwanted.len() < TAKEN_OUT
            && self.waiting.front().is_some_and(|first| !(first.asker.is_wanting)())
        {
            unwanted.extend(self.waiting.pop_front());
        }
        // A read that goes on takes this one within a few microseconds, unless its disk is slow.
        let is_slow = || self.taken.elapsed() > LONG;
        let begins = self.reads < self.at_once
            && (self.reads == 0 || self.waiting.len() > self.reads || is_slow());
        self.reads += usize::from(begins);
        (begins, unwanted)
    }

    /// The share of one read, as others go on beside it: a disk may be slow.
    fn take(&mut self) -> VecDeque<BodyRequest> {
        self.taken = Instant::now();
        let share = self.waiting.len().div_ceil(self.at_once);
        let mut bodies = 0;
        let last = self.waiting.iter().take(share).position(|request| {
            bodies += request.entries.len();
            bodies >= TAKEN
        });
        let rest = self.waiting.split_off(last.map_or(share, |last| last + 1));
        std::mem::replace(&mut self.waiting, rest)
    }
}

impl Store {
    /// Asks for the bodies of shapes from the file: of the first of them, up to a bound in
    /// bytes, and of one at least. There is none for a shape that is gone, or lost as its
    /// body is damaged or not there. The body of one that is asked for alone is kept warm.
    ///
    /// Where the reading fails, or the mode is exclusive, the writer reads, and while the file
    /// is written anew the answer waits for that.
    pub fn ask_bodies(&self, entries: Vec<Entry>, asker: Asker, notify: Notify<ReadBodies>) {
        let reply = Reply::new(notify, || Err(ReadError::Closed));
        let request = BodyRequest { entries, asker, reply };
        if self.shared.options.exclusive {
            return self.shared.read_by_writer(request, ReadError::Borrowed);
        }
        let (begins, _unwanted) = self.shared.cold_reads.line.lock().push(request);
        if begins {
            Read(Arc::clone(&self.shared)).begin();
        }
    }

    /// How many requests for bodies wait for those before them; none of them in exclusive
    /// mode.
    pub fn waiting_reads(&self) -> usize {
        self.shared.cold_reads.line.lock().waiting.len()
    }
}

/// One of those that the line counts. However it ends, another follows it if there is
/// something left to read.
struct Read(Arc<Shared>);

impl Read {
    fn begin(self) {
        let system = Arc::clone(&self.0.options.system);
        system.background(Box::new(move || (self.0.scope)(&mut || self.go_on())));
    }

    fn go_on(&self) {
        let end = Instant::now() + LONG;
        loop {
            let requests = self.0.cold_reads.line.lock().take();
            if requests.is_empty() {
                return;
            }
            self.0.read_all(requests);
            if Instant::now() >= end {
                return;
            }
        }
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        let ends = {
            let mut line = self.0.cold_reads.line.lock();
            let ends = line.waiting.is_empty();
            line.reads -= usize::from(ends);
            ends
        };
        if !ends {
            Self(Arc::clone(&self.0)).begin();
        }
    }
}

impl Shared {
    fn read_all(&self, mut requests: VecDeque<BodyRequest>) {
        // Whose bodies are gone is for the writer to say, which knows its file.
        let mut missing = Vec::new();
        while !requests.is_empty() {
            // Asked for before there is a reader. If the database is exchanged meanwhile, what
            // is read of the new one is kept as of the old one, whose bodies nobody asks for.
            let database = self.cache.database();
            let read = self.read(|conn| {
                if let Some([entry, ..]) = requests.front().map(|first| &*first.entries) {
                    self.learn_at_once(conn, entry);
                }
                // One transaction for all: each read by itself would lock the file anew.
                let many = requests.iter().map(|request| request.entries.len()).sum::<usize>() > 1;
                let _snapshot = many.then(|| conn.unchecked_transaction()).transpose()?;
                while let Some(first) = requests.front() {
                    let wanted = (first.asker.is_wanting)();
                    let read = wanted.then(|| self.read_stored(conn, database, &first.entries));
                    let read = read.transpose()?;
                    let (Some(first), Some(read)) = (requests.pop_front(), read) else { continue };
                    let has_missing = self.missing(&first.entries, &read).next().is_some();
                    match has_missing && !first.asker.has_writer && self.state().writable().is_ok()
                    {
                        true => missing.push(first),
                        false => first.reply.send(Ok(read)),
                    }
                }
                Ok(())
            });
            if let (Err(error), Some(failed)) = (read, requests.pop_front()) {
                self.read_by_writer(failed, error);
            }
        }
        missing.into_iter().for_each(|request| self.read_by_writer(request, ReadError::Borrowed));
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
