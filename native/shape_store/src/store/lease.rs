//! A connection in somebody's hands, and the line of those who want one.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use rusqlite::{
    Connection, InterruptHandle,
    hooks::{AuthAction, AuthContext, Authorization},
};

use crate::{Notify, error_text::worded};

/// A connection in somebody's hands. Dropping it gives it back.
pub struct Lease {
    held: Mutex<Option<(Connection, GiveBack)>>,
    interrupt: InterruptHandle,
    altered: Arc<AtomicBool>,
    slot: u64,
}

/// Takes a connection back, and hears whether it can be handed on. Called from any
/// thread, so it only hands over.
type GiveBack = Box<dyn FnOnce(Connection, ReturnedAs) + Send>;

/// The slot of the connection that writes.
pub const WRITER_SLOT: u64 = 0;

/// In which state a connection is returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ReturnedAs {
    /// As it was lent.
    Unchanged,
    /// With settings, attached files or temporary tables of its borrower's, or in a
    /// transaction that cannot be ended: not for the next one.
    Altered,
}

impl Lease {
    /// Lends a connection. What its borrower prepares is looked at, to know whether the
    /// connection can be lent again; where it could not be replaced, in memory, what
    /// would alter it is refused.
    pub(crate) fn new(
        mut conn: Connection,
        slot: u64,
        replaceable: bool,
        give_back: GiveBack,
    ) -> Self {
        let interrupt = conn.get_interrupt_handle();
        let altered = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&altered);
        let watch = move |context: AuthContext<'_>| {
            if !alters(&context) {
                return Authorization::Allow;
            }
            // Relaxed: read when the connection is back, which a lock hands over.
            noted.store(replaceable, Relaxed);
            if replaceable { Authorization::Allow } else { Authorization::Deny }
        };
        if conn.authorizer(Some(watch)).is_err() {
            altered.store(true, Relaxed);
        }
        Self { held: Mutex::new(Some((conn, give_back))), interrupt, altered, slot }
    }

    /// Which connection it is: [`WRITER_SLOT`], or the number of a reader. Equal
    /// numbers held at one time are one connection.
    pub fn slot(&self) -> u64 {
        self.slot
    }

    /// Runs `work` on the connection; `None` once it was given back.
    ///
    /// May touch the disk. One caller at a time; others wait.
    pub fn with<T>(&self, work: impl FnOnce(&Connection) -> T) -> Option<T> {
        self.held.lock().as_ref().map(|(conn, _)| work(conn))
    }

    /// Stops the statement that is running on it, if any.
    pub fn interrupt(&self) {
        self.interrupt.interrupt();
    }

    /// Takes it from its borrower, whose statement is interrupted and whose transaction is
    /// rolled back.
    ///
    /// May touch the disk.
    pub fn revoke(&self) {
        let mut held = self.held.try_lock().unwrap_or_else(|| {
            // Only while somebody uses it: once it is returned, its statements are
            // those of others.
            self.interrupt();
            self.held.lock()
        });
        if let Some((conn, _)) = &*held {
            // Ended here, as whoever takes the connection back may wait for the lock
            // that the transaction has.
            end_transaction(conn);
        }
        let held = held.take();
        self.return_now(held);
    }

    fn return_now(&self, held: Option<(Connection, GiveBack)>) {
        if let Some((mut conn, give_back)) = held {
            let none = None::<fn(AuthContext<'_>) -> Authorization>;
            let unwatched = conn.authorizer(none).is_ok();
            let condition = match unwatched && !self.altered.load(Relaxed) {
                true => ReturnedAs::Unchanged,
                false => ReturnedAs::Altered,
            };
            give_back(conn, condition);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let held = self.held.get_mut().take();
        self.return_now(held);
    }
}

/// Pragmas that take a value and set nothing.
const ASKING: [&str; 11] = [
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
    "foreign_key_list",
    "foreign_key_check",
    "quick_check",
    "integrity_check",
    "wal_checkpoint",
];

/// Whether a statement may leave something behind on its connection, as far as SQLite
/// tells when it is prepared. A setting that is only asked for has no value.
fn alters(context: &AuthContext<'_>) -> bool {
    match context.action {
        AuthAction::Pragma { pragma_name, pragma_value } => {
            pragma_value.is_some() && !ASKING.contains(&pragma_name)
        }
        AuthAction::Attach { .. }
        | AuthAction::Detach { .. }
        | AuthAction::CreateTempTable { .. }
        | AuthAction::CreateTempIndex { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::CreateTempView { .. } => true,
        _ => context.database_name == Some("temp"),
    }
}

/// Ends what a borrower left open; whether that worked. It wrote nothing that is wanted.
pub(crate) fn end_transaction(conn: &Connection) -> bool {
    conn.is_autocommit() || conn.execute_batch("ROLLBACK").is_ok()
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
    #[error("opening a connection failed: {}", worded(.0))]
    Sqlite(#[from] rusqlite::Error),
    /// What is at the file's path is not the store's file.
    #[error("opening a connection failed: {0}")]
    NotOurs(String),
}

/// Those who want a connection, in the order of their asking.
#[derive(Default)]
pub(crate) struct Line {
    waiting: VecDeque<(u64, Notify<Granted>)>,
    next: u64,
    closed: bool,
}

impl Line {
    /// Puts a request in line, and gives the number by which it is taken back. A line that
    /// is closed gives the notification back instead.
    pub(crate) fn push(&mut self, notify: Notify<Granted>) -> Result<u64, Notify<Granted>> {
        if self.closed {
            return Err(notify);
        }
        let number = self.next;
        self.next += 1;
        self.waiting.push_back((number, notify));
        Ok(number)
    }

    pub(crate) fn pop(&mut self) -> Option<Notify<Granted>> {
        self.waiting.pop_front().map(|(_, notify)| notify)
    }

    /// Takes a request back; false when its answer is on its way.
    pub(crate) fn cancel(&mut self, number: u64) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|(other, _)| *other != number);
        self.waiting.len() < before
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Nobody is served any more: gives whom to tell, once no lock is held.
    #[must_use]
    pub(crate) fn close(&mut self) -> Vec<Notify<Granted>> {
        self.closed = true;
        std::mem::take(&mut self.waiting).into_iter().map(|(_, notify)| notify).collect()
    }
}
