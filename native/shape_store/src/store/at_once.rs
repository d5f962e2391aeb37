//! Cold bodies that the system has in memory, read at once by who asks.
//!
//! Such a read takes a few microseconds, and a thread that must not wait may do it: it takes
//! an idle connection or none, waits for no lock of another process, and reads from the page
//! cache or fails. What it did not get is asked for in line (`cold_reads.rs`), where errors
//! are seen to.

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
        let shared = &*self.shared;
        if shared.cold_reads.at_once.get() != Some(&true)
            || matches!(shared.state(), State::Closed | State::Poisoned)
        {
            return None;
        }
        // Asked for before there is a reader, as in `read_all`.
        let database = shared.cache.database();
        let body = shared.readers.with_idle(|conn| shared.read_at_once(conn, entry))?.ok()??;
        shared.cache.keep_wanted(cache::key(database, entry.row), shared.dictionary.pack(&body));
        Some(body)
    }
}

impl Shared {
    /// Finds out whether the file can be read without waiting, on a thread that may wait.
    pub(crate) fn learn_at_once(&self, conn: &Connection, entry: &Entry) {
        if self.cold_reads.at_once.get().is_none() {
            let _tried = self.read_at_once(conn, entry);
        }
    }

    fn read_at_once(&self, conn: &Connection, entry: &Entry) -> rusqlite::Result<Option<Body>> {
        let Options { system, vfs, .. } = &self.options;
        let mut stored = None;
        let mut read = || stored = row::read_body(conn, entry).ok();
        let possible = connection::without_waiting(conn, &self.options, || {
            system.without_waiting(vfs.as_deref(), READS, &mut read)
        })?;
        if let Some(possible) = possible {
            let _already = self.cold_reads.at_once.set(possible);
        }
        Ok(stored.and_then(Stored::whole))
    }
}
