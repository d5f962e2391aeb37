//! The read connections: opened when asked for, lent in the order of asking, closed after
//! some time without use.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use parking_lot::Mutex;
use rusqlite::Connection;

use crate::{
    Notify,
    error::ReadError,
    file::{Known, Opened, Unopened, connection, open_labelled, shared_memory_of},
    options::Options,
    store::lease::{GrantError, Granted, Lease, Line, ReturnedAs, end_transaction},
    system::FileId,
};

pub(crate) struct Readers {
    options: Options,
    /// Where the file is, known once the store is opening it.
    path: Arc<OnceLock<PathBuf>>,
    /// Which file that is.
    known: Arc<Known>,
    state: Mutex<State>,
    /// Connections open at this moment, the writer's included.
    open: Arc<AtomicUsize>,
    /// Has the writer look at idle readers.
    wake_writer: Box<dyn Fn() + Send + Sync>,
    /// Whether it is going to.
    watched: AtomicBool,
}

#[derive(Default)]
struct State {
    idle: Vec<Idle>,
    lent: usize,
    line: Line,
    opened: u64,
    /// Connections up to this slot are of a file that was replaced.
    stale: u64,
    closed: bool,
    /// What the open readers share.
    memory: Weak<SharedMemory>,
}

struct Reader {
    conn: Connection,
    slot: u64,
    /// Let go after the connection.
    memory: Arc<SharedMemory>,
}

/// The index of the log that all connections of a process to a file share: SQLite opens it
/// with the first of them, and the others have that one, also where another has its name.
struct SharedMemory(Option<FileId>);

struct Idle {
    reader: Reader,
    since: Instant,
}

impl Readers {
    pub(crate) fn new(
        options: Options,
        path: Arc<OnceLock<PathBuf>>,
        known: Arc<Known>,
        open: Arc<AtomicUsize>,
        wake_writer: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        let watched = AtomicBool::new(false);
        Self { options, path, known, state: Mutex::default(), open, wake_writer, watched }
    }

    /// Runs `work` on a reader that nobody else has. Never waits for one: beyond
    /// those that are lent it opens another for the occasion.
    pub(crate) fn with<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, ReadError> {
        let idle = self.state.lock().idle.pop();
        let reader = match idle {
            Some(idle) => idle.reader,
            None => self.open_one()?,
        };
        Ok(self.work(reader, work)?)
    }

    /// The same on one that is idle, and on no other.
    pub(crate) fn with_idle<T>(&self, work: impl FnOnce(&Connection) -> T) -> Option<T> {
        let reader = self.state.lock().idle.pop()?.reader;
        Some(self.work(reader, work))
    }

    /// However the work ends, the reader is put back, or closed if the work panicked.
    fn work<T>(&self, reader: Reader, work: impl FnOnce(&Connection) -> T) -> T {
        match catch_unwind(AssertUnwindSafe(|| work(&reader.conn))) {
            Ok(result) => {
                self.put_back(reader);
                result
            }
            Err(panic) => {
                self.discard(reader);
                resume_unwind(panic)
            }
        }
    }

    /// Asks for a connection. Opening one may touch the disk. The number takes
    /// the request back; there is none when `notify` was called already.
    pub(crate) fn ask(self: &Arc<Self>, notify: Notify<Granted>) -> Option<u64> {
        let idle = {
            let mut state = self.state.lock();
            if state.lent >= self.options.readers || state.closed {
                return match state.line.push(notify) {
                    Ok(number) => Some(number),
                    Err(notify) => {
                        drop(state);
                        notify(Err(GrantError::Closed));
                        None
                    }
                };
            }
            state.lent += 1;
            state.idle.pop()
        };
        let opened = match idle {
            Some(idle) => Ok(idle.reader),
            None => self.open_one(),
        };
        match opened {
            Ok(reader) => notify(Ok(self.lease(reader))),
            Err(error) => {
                notify(Err(error.into()));
                self.pass_on(None);
            }
        }
        None
    }

    /// Takes a request back; false when its answer is on its way.
    pub(crate) fn cancel(&self, number: u64) -> bool {
        self.state.lock().line.cancel(number)
    }

    /// Closes readers that had no use since `before`, and says when the next may
    /// be due.
    pub(crate) fn close_idle(&self, before: Instant) -> Option<Instant> {
        let (closing, next) = {
            let mut state = self.state.lock();
            let all = std::mem::take(&mut state.idle);
            let (closing, keep) = all.into_iter().partition(|idle| idle.since <= before);
            state.idle = keep;
            let next = state.idle.iter().map(|idle| idle.since).min();
            // Under the lock, so that who puts one back after this look sees
            // whether there will be another.
            self.watched.store(next.is_some(), Relaxed);
            (closing, next)
        };
        self.close_all(closing);
        next.map(|since| since + self.options.connection_idle)
    }

    /// The file was replaced: no connection to the one before is used again, neither an
    /// idle one nor one that is returned later.
    pub(crate) fn renew(&self) {
        let idle = {
            let mut state = self.state.lock();
            state.stale = state.opened;
            std::mem::take(&mut state.idle)
        };
        self.close_all(idle);
    }

    /// Whether connections to the file are open here whose shared memory is not the one that
    /// has its name. Who opened another would have theirs, and be alone with them.
    pub(crate) fn have_lost_memory(&self) -> io::Result<bool> {
        let memory = self.state.lock().memory.upgrade();
        let (Some(memory), Some(path)) = (memory, self.path.get()) else { return Ok(false) };
        Ok(memory.0 != self.memory_at(path)?)
    }

    fn memory_at(&self, path: &Path) -> io::Result<Option<FileId>> {
        Ok(self.options.system.stat(&shared_memory_of(path))?.map(|there| there.id))
    }

    /// Closes what is idle, refuses who waits, and closes the rest as it returns.
    pub(crate) fn close(&self) {
        let (idle, line) = {
            let mut state = self.state.lock();
            state.closed = true;
            (std::mem::take(&mut state.idle), state.line.close())
        };
        self.close_all(idle);
        line.into_iter().for_each(|notify| notify(Err(GrantError::Closed)));
    }

    fn close_all(&self, closing: Vec<Idle>) {
        self.open.fetch_sub(closing.len(), Relaxed);
        drop(closing);
    }

    /// Opens a reader of the file that the store knows, and of no other.
    fn open_one(&self) -> Result<Reader, ReadError> {
        // Numbered before it opens, so that one that opened the file of before a
        // `renew` has a number of before it too.
        let slot = {
            let mut state = self.state.lock();
            state.opened += 1;
            state.opened
        };
        let path = self.path.get().ok_or(ReadError::Closed)?;
        let system = &*self.options.system;
        let Opened { conn, id, label } =
            open_labelled(system, path, || connection::open_to_read(path, &self.options))?;
        if !self.known.is(id, label.identity) {
            return Err(ReadError::NotOurs("another file is in its place".into()));
        }
        let found = Arc::new(SharedMemory(self.memory_at(path).map_err(Unopened::Io)?));
        let memory = {
            let mut state = self.state.lock();
            let memory = state.memory.upgrade().unwrap_or(found);
            state.memory = Arc::downgrade(&memory);
            memory
        };
        self.open.fetch_add(1, Relaxed);
        Ok(Reader { conn, slot, memory })
    }

    fn lease(self: &Arc<Self>, reader: Reader) -> Lease {
        let readers = Arc::clone(self);
        let Reader { conn, slot, memory } = reader;
        let give_back = move |conn, condition| {
            readers.pass_on(Some((Reader { conn, slot, memory }, condition)));
        };
        Lease::new(conn, slot, true, Box::new(give_back))
    }

    /// A connection that was lent is returned, or none could be opened: the first in line
    /// gets one, or nobody waits and it is kept idle. Opens one only when there is none to
    /// pass on.
    fn pass_on(self: &Arc<Self>, back: Option<(Reader, ReturnedAs)>) {
        // A borrower that died may have left a transaction open. It wrote nothing, so
        // ending it touches memory only.
        let stale = self.state.lock().stale;
        let usable = |(reader, condition): &(Reader, ReturnedAs)| {
            let unchanged = *condition == ReturnedAs::Unchanged;
            reader.slot > stale && unchanged && end_transaction(&reader.conn)
        };
        let mut back = match back {
            Some(back) if !usable(&back) => {
                // The next in line needs another, and opening touches the disk.
                let readers = Arc::clone(self);
                return self.options.system.background(Box::new(move || {
                    readers.discard(back.0);
                    readers.pass_on(None);
                }));
            }
            back => back.map(|(reader, _)| reader),
        };
        loop {
            let next = {
                let mut state = self.state.lock();
                let next = state.line.pop();
                if next.is_none() {
                    state.lent -= 1;
                }
                next
            };
            match (next, back.take()) {
                (None, None) => return,
                (None, Some(reader)) => return self.put_back(reader),
                (Some(notify), Some(reader)) => return notify(Ok(self.lease(reader))),
                (Some(notify), None) => match self.open_one() {
                    Ok(reader) => return notify(Ok(self.lease(reader))),
                    Err(error) => notify(Err(error.into())),
                },
            }
        }
    }

    fn put_back(&self, reader: Reader) {
        let mut state = self.state.lock();
        if state.closed || reader.slot <= state.stale || state.idle.len() >= self.options.readers {
            drop(state);
            self.discard(reader);
        } else {
            state.idle.push(Idle { reader, since: self.options.system.now() });
            if !self.watched.swap(true, Relaxed) {
                (self.wake_writer)();
            }
        }
    }

    /// Closes a connection off this thread: closing may touch the disk, and the caller may
    /// be a scheduler of the BEAM that ran a destructor.
    fn discard(&self, reader: Reader) {
        self.open.fetch_sub(1, Relaxed);
        self.options.system.background(Box::new(move || drop(reader)));
    }
}

impl From<ReadError> for GrantError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Sqlite(error) => Self::Sqlite(error),
            ReadError::Closed => Self::Closed,
            other => Self::NotOurs(other.to_string()),
        }
    }
}
