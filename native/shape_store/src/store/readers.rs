//! The read connections: opened when asked for, lent in the order of asking, closed after
//! some time without use.

use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use parking_lot::Mutex;
use rusqlite::Connection;

use crate::{
    Notify,
    error::ReadError,
    file::{Known, Opened, connection, open_labelled},
    options::Options,
    store::lease::{GrantError, Granted, Lease, Line, ReturnedAs, end_transaction},
};

pub(crate) struct Readers {
    options: Options,
    /// Where the file is, known once the store is opening it.
    path: Arc<OnceLock<PathBuf>>,
    /// Which file that is.
    known: Arc<Known>,
    state: Mutex<Pool>,
    /// Connections open at this moment, the writer's included.
    open: Arc<AtomicUsize>,
    /// Has the writer look at idle readers.
    wake_writer: Box<dyn Fn() + Send + Sync>,
    /// Whether it is going to.
    watched: AtomicBool,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Idle>,
    lent: usize,
    line: Line,
    opened: u64,
    /// Connections up to this slot are of a file that was replaced.
    stale: u64,
    closed: bool,
}

struct Idle {
    conn: Connection,
    slot: u64,
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
        let (conn, slot) = match idle {
            Some(idle) => (idle.conn, idle.slot),
            None => self.open_one()?,
        };
        let result = work(&conn);
        self.put_back(conn, slot);
        Ok(result?)
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
            Some(idle) => Ok((idle.conn, idle.slot)),
            None => self.open_one(),
        };
        match opened {
            Ok((conn, slot)) => notify(Ok(self.lease(conn, slot))),
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
    fn open_one(&self) -> Result<(Connection, u64), ReadError> {
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
        self.open.fetch_add(1, Relaxed);
        Ok((conn, slot))
    }

    fn lease(self: &Arc<Self>, conn: Connection, slot: u64) -> Lease {
        let readers = Arc::clone(self);
        let give_back = move |conn, condition| readers.pass_on(Some((conn, slot, condition)));
        Lease::new(conn, slot, true, Box::new(give_back))
    }

    /// A connection that was lent is returned, or none could be opened: the first in line
    /// gets one, or nobody waits and it is kept idle. Opens one only when there is none to
    /// pass on.
    fn pass_on(self: &Arc<Self>, back: Option<(Connection, u64, ReturnedAs)>) {
        // A borrower that died may have left a transaction open. It wrote nothing, so
        // ending it touches memory only.
        let stale = self.state.lock().stale;
        let usable = |(conn, slot, condition): &(Connection, u64, ReturnedAs)| {
            *slot > stale && *condition == ReturnedAs::Unchanged && end_transaction(conn)
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
            back => back.map(|(conn, slot, _)| (conn, slot)),
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
                (None, Some((conn, slot))) => return self.put_back(conn, slot),
                (Some(notify), Some((conn, slot))) => return notify(Ok(self.lease(conn, slot))),
                (Some(notify), None) => match self.open_one() {
                    Ok((conn, slot)) => return notify(Ok(self.lease(conn, slot))),
                    Err(error) => notify(Err(error.into())),
                },
            }
        }
    }

    fn put_back(&self, conn: Connection, slot: u64) {
        let mut state = self.state.lock();
        if state.closed || slot <= state.stale || state.idle.len() >= self.options.readers {
            drop(state);
            self.discard(conn);
        } else {
            state.idle.push(Idle { conn, slot, since: self.options.system.now() });
            if !self.watched.swap(true, Relaxed) {
                (self.wake_writer)();
            }
        }
    }

    /// Closes a connection off this thread: closing may touch the disk, and the caller may
    /// be a scheduler of the BEAM that ran a destructor.
    fn discard(&self, conn: Connection) {
        self.open.fetch_sub(1, Relaxed);
        self.options.system.background(Box::new(move || drop(conn)));
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
