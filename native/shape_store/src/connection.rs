//! Connections to the file: how one is opened, the pool of readers, and leases.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::Sender;
use parking_lot::Mutex;
use rusqlite::{Connection, InterruptHandle, OpenFlags, OptionalExtension as _};

use crate::{
    Notify,
    body::Body,
    entry::RowId,
    options::{Location, Options, Synchronous},
    schema,
    shared::Command,
};

/// How long a statement waits for a lock that another process holds.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);

/// SQLite's own page cache, in KiB. Small: lookups are answered by the index,
/// warm bodies by their cache, and what is left reads each page once.
const WRITER_PAGES_KIB: i64 = 2048;
const READER_PAGES_KIB: i64 = 256;

/// Log pages between checkpoints: 16 MiB.
const CHECKPOINT_PAGES: i64 = 1000;

/// Opens the connection that writes.
pub(crate) fn open_writer(options: &Options) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = open(options, flags)?;
    conn.pragma_update(None, "page_size", schema::PAGE_SIZE)?;
    let journal = if options.exclusive { "DELETE" } else { "WAL" };
    conn.pragma_update(None, "journal_mode", journal)?;
    conn.pragma_update(None, "synchronous", synchronous(options, options.synchronous))?;
    conn.pragma_update(None, "cache_size", -WRITER_PAGES_KIB)?;
    conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    Ok(conn)
}

/// With a rollback journal the commit is the journal's deletion, and only EXTRA
/// makes sure of that: <https://sqlite.org/pragma.html#pragma_synchronous>.
pub(crate) fn synchronous(options: &Options, level: Synchronous) -> &'static str {
    match level {
        Synchronous::Off => "OFF",
        Synchronous::Normal => "NORMAL",
        Synchronous::Full if options.exclusive => "EXTRA",
        Synchronous::Full => "FULL",
    }
}

pub(crate) fn open_reader(options: &Options) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = open(options, flags)?;
    conn.pragma_update(None, "cache_size", -READER_PAGES_KIB)?;
    Ok(conn)
}

fn open(options: &Options, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let path = match &options.location {
        Location::File(path) => path.as_path(),
        Location::Memory => Path::new(":memory:"),
    };
    let conn = match &options.vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs.as_str())?,
        None => Connection::open_with_flags(path, flags)?,
    };
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.set_prepared_statement_cache_capacity(2 * schema::STATEMENTS.len());
    Ok(conn)
}

/// Reads the body of a committed row; none when the row is gone.
pub(crate) fn read_body(conn: &Connection, row: RowId) -> rusqlite::Result<Option<Body>> {
    let mut statement = conn.prepare_cached(schema::READ_BODY)?;
    let body = statement.query_row([row as i64], |row| Ok(Body::plain(row.get_ref(0)?.as_blob()?)));
    body.optional()
}

/// A connection in somebody's hands. Dropping it sends it home.
pub struct Lease {
    conn: Mutex<Option<Connection>>,
    interrupt: InterruptHandle,
    home: Option<Home>,
    slot: u64,
}

/// Where a connection goes when its lease ends. Called from any thread, so it
/// only hands the connection over.
type Home = Box<dyn FnOnce(Connection) + Send + Sync>;

/// The slot of the connection that writes.
pub const WRITER_SLOT: u64 = 0;

impl Lease {
    pub(crate) fn new(conn: Connection, slot: u64, home: Home) -> Self {
        let interrupt = conn.get_interrupt_handle();
        Self { conn: Mutex::new(Some(conn)), interrupt, home: Some(home), slot }
    }

    /// Which connection it is: [`WRITER_SLOT`], or the number of a reader. Equal
    /// numbers held at one time are one connection.
    pub fn slot(&self) -> u64 {
        self.slot
    }

    /// Runs `work` on the connection; `None` once it went home.
    ///
    /// May touch the disk. One caller at a time; others wait.
    pub fn with<T>(&self, work: impl FnOnce(&Connection) -> T) -> Option<T> {
        self.conn.lock().as_ref().map(work)
    }

    /// Stops the statement that is running on it, if any.
    pub fn interrupt(&self) {
        self.interrupt.interrupt();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let (Some(conn), Some(home)) = (self.conn.get_mut().take(), self.home.take()) {
            home(conn);
        }
    }
}

/// How a request for a connection ended.
pub type Granted = Result<Lease, GrantError>;

/// Why there was no connection to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// SQLite refused to open one.
    #[error("opening a connection failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

/// The read connections: opened when asked for, lent in the order of asking,
/// closed after some time without use.
pub(crate) struct Readers {
    options: Options,
    state: Mutex<ReadersState>,
    /// Connections open at this moment, the writer's included.
    open: Arc<AtomicUsize>,
    /// The writer thread, which closes idle readers.
    janitor: Sender<Command>,
    /// Whether it is going to look at them.
    watched: AtomicBool,
}

#[derive(Default)]
struct ReadersState {
    idle: Vec<Idle>,
    lent: usize,
    line: VecDeque<(u64, Notify<Granted>)>,
    next: u64,
    /// Connections up to this slot are of a file that was moved away.
    stale: u64,
    closed: bool,
}

struct Idle {
    conn: Connection,
    slot: u64,
    since: Instant,
}

impl Readers {
    pub(crate) fn new(options: Options, open: Arc<AtomicUsize>, janitor: Sender<Command>) -> Self {
        Self { options, state: Mutex::default(), open, janitor, watched: AtomicBool::new(false) }
    }

    /// Runs `work` on a reader that nobody else has. Never waits for one: beyond
    /// those that are lent it opens another for the occasion.
    pub(crate) fn with<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let idle = self.state.lock().idle.pop();
        let (conn, slot) = match idle {
            Some(idle) => (idle.conn, idle.slot),
            None => self.open_one()?,
        };
        let result = work(&conn);
        self.put_back(conn, slot);
        result
    }

    /// Asks for a connection. Opening one may touch the disk. The number takes
    /// the request back; there is none when `notify` was called already.
    pub(crate) fn ask(self: &Arc<Self>, notify: Notify<Granted>) -> Option<u64> {
        let idle = {
            let mut state = self.state.lock();
            if state.closed {
                drop(state);
                notify(Err(GrantError::Closed));
                return None;
            }
            if state.lent >= self.options.readers {
                let number = state.next;
                state.next += 1;
                state.line.push_back((number, notify));
                return Some(number);
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
        let mut state = self.state.lock();
        let before = state.line.len();
        state.line.retain(|(other, _)| *other != number);
        state.line.len() < before
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

    /// The file was moved away: no connection to it is used again, neither an idle
    /// one nor one that is lent and comes home later.
    pub(crate) fn renew(&self) {
        let idle = {
            let mut state = self.state.lock();
            state.stale = state.next;
            std::mem::take(&mut state.idle)
        };
        self.close_all(idle);
    }

    /// Closes what is idle, refuses who waits, and closes the rest as it returns.
    pub(crate) fn close(&self) {
        let (idle, line) = {
            let mut state = self.state.lock();
            state.closed = true;
            (std::mem::take(&mut state.idle), std::mem::take(&mut state.line))
        };
        self.close_all(idle);
        for (_, notify) in line {
            notify(Err(GrantError::Closed));
        }
    }

    fn close_all(&self, closing: Vec<Idle>) {
        self.open.fetch_sub(closing.len(), Relaxed);
        drop(closing);
    }

    fn open_one(&self) -> rusqlite::Result<(Connection, u64)> {
        // Numbered before it opens, so that one that opened the file of before a
        // `renew` has a number of before it too.
        let slot = {
            let mut state = self.state.lock();
            state.next += 1;
            state.next
        };
        let conn = open_reader(&self.options)?;
        self.open.fetch_add(1, Relaxed);
        Ok((conn, slot))
    }

    fn lease(self: &Arc<Self>, conn: Connection, slot: u64) -> Lease {
        let readers = Arc::clone(self);
        Lease::new(conn, slot, Box::new(move |conn| readers.pass_on(Some((conn, slot)))))
    }

    /// A lent connection is back, or was never opened: the first in line gets
    /// it, or it rests. Opens one only when there is none to pass on.
    fn pass_on(self: &Arc<Self>, mut back: Option<(Connection, u64)>) {
        // A borrower that died may have left a transaction open. It wrote
        // nothing, so ending it touches memory only.
        let clean =
            |conn: &Connection| conn.is_autocommit() || conn.execute_batch("ROLLBACK").is_ok();
        let stale = self.state.lock().stale;
        if let Some((conn, _)) = back.take_if(|(conn, slot)| *slot <= stale || !clean(conn)) {
            // The next in line needs another, and opening touches the disk.
            let readers = Arc::clone(self);
            return self.elsewhere(move || {
                readers.discard(conn);
                readers.pass_on(None);
            });
        }
        loop {
            let next = {
                let mut state = self.state.lock();
                let next = state.line.pop_front();
                if next.is_none() {
                    state.lent -= 1;
                }
                next
            };
            match (next, back.take()) {
                (None, None) => return,
                (None, Some((conn, slot))) => return self.put_back(conn, slot),
                (Some((_, notify)), Some((conn, slot))) => {
                    return notify(Ok(self.lease(conn, slot)));
                }
                (Some((_, notify)), None) => match self.open_one() {
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
            state.idle.push(Idle { conn, slot, since: Instant::now() });
            if !self.watched.swap(true, Relaxed) {
                // A writer that is gone has closed this pool.
                let _ = self.janitor.send(Command::Wake);
            }
        }
    }

    /// Closes a connection on a thread of its own: closing may touch the disk,
    /// and the caller may be a scheduler of the BEAM that ran a destructor.
    fn discard(&self, conn: Connection) {
        self.open.fetch_sub(1, Relaxed);
        self.elsewhere(move || drop(conn));
    }

    /// Runs `work` on a thread of its own, or here when none can be had.
    fn elsewhere<F: FnOnce() + Send + 'static>(&self, work: F) {
        let work = Arc::new(Mutex::new(Some(work)));
        let run = |work: &Mutex<Option<F>>| {
            let work = work.lock().take();
            if let Some(work) = work {
                work();
            }
        };
        let theirs = Arc::clone(&work);
        let thread = std::thread::Builder::new().name("shape_db_close".into());
        if thread.spawn(move || run(&theirs)).is_err() {
            run(&work);
        }
    }
}
