//! Cold bodies that the system has in memory, read at once by who asks.
//!
//! Such a read takes a few microseconds, and a thread that must not wait may do it: it takes
//! an idle connection or none, waits for no lock of another process, and reads from the page
//! cache or fails. A list reads many of them so, on a thread that may take its time but holds
//! up others if it waits. What they did not get is asked for in line (`cold_reads.rs`), where
//! errors are seen to.

use std::ops::ControlFlow;

use rusqlite::Connection;

use super::Store;
use crate::{
    cache::{self, body::Body},
    entry::Entry,
    file::{
        connection,
        row::{self, Stored},
    },
    options::Options,
    shared::Shared,
    state::State,
};

/// The way from the root of the tree to a body of usual size, and more than once as much.
const READS: u32 = 8;

impl Store {
    /// The body of a shape that was found [`Cold`], if it can be read without waiting for the
    /// disk. It is kept warm.
    ///
    /// [`Cold`]: crate::Found::Cold
    pub fn body_at_once(&self, entry: &Entry) -> Option<Body> {
        // Asked for before there is a reader, as in `read_all`.
        let database = self.shared.cache.database();
        let mut body = None;
        self.visit_at_once(&[entry], |bytes| {
            body = Some(Body::plain(bytes));
            ControlFlow::Break(())
        });
        let body = body?;
        let packed = self.shared.dictionary.pack(&body);
        self.shared.cache.keep_wanted(cache::key(database, entry.row), packed);
        Some(body)
    }

    /// Calls `visit` with the bodies of such shapes, in their order, until it breaks or one
    /// cannot be read without waiting for the disk. A connection has its transaction open
    /// meanwhile, so a checkpoint cannot end; and `visit` itself must not read by SQLite.
    pub fn visit_at_once(
        &self,
        entries: &[&Entry],
        mut visit: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) {
        let shared = &*self.shared;
        if shared.cold_reads.at_once.get() == Some(&true)
            && !matches!(shared.state(), State::Closed | State::Poisoned)
        {
            // What fails is asked for in line.
            let read = |conn: &Connection| shared.visit_at_once(conn, entries, &mut visit);
            let _failed = shared.readers.with_idle(read);
        }
    }
}

impl Shared {
    /// Finds out whether the file can be read without waiting, on a thread that may wait.
    pub(crate) fn learn_at_once(&self, conn: &Connection, entry: &Entry) {
        if self.cold_reads.at_once.get().is_none() {
            let _tried = self.visit_at_once(conn, &[entry], &mut |_| ControlFlow::Continue(()));
        }
    }

    fn visit_at_once(
        &self,
        conn: &Connection,
        entries: &[&Entry],
        visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> rusqlite::Result<()> {
        connection::without_waiting(conn, &self.options, || {
            // One transaction for all: each read by itself would lock the file anew.
            let many = entries.len() > 1;
            let _snapshot = many.then(|| conn.unchecked_transaction()).transpose()?;
            for entry in entries {
                if self.visit_one_at_once(conn, entry, visit).is_break() {
                    break;
                }
            }
            Ok(())
        })?
    }

    fn visit_one_at_once(
        &self,
        conn: &Connection,
        entry: &Entry,
        visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Options { system, vfs, .. } = &self.options;
        let mut visited = None;
        let mut read = || visited = row::visit_body(conn, entry, &mut *visit).ok();
        if let Some(possible) = system.without_waiting(vfs.as_deref(), READS, &mut read) {
            let _already = self.cold_reads.at_once.set(possible);
        }
        visited.and_then(Stored::whole).unwrap_or(ControlFlow::Break(()))
    }
}
