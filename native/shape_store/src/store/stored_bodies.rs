//! Bodies from the file, each made sure to be the one that was written for its shape; and
//! what becomes of a shape whose body is not.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use rusqlite::Connection;
use tracing::{error, warn};

use crate::{
    cache::{self, body::Body},
    entry::Entry,
    error::ReadError,
    event::Event,
    file::row::{self, Stored},
    queue::Change,
    shared::Shared,
    writer::command::ReadBodies,
};

/// Why a shape is lost whose body does not verify.
pub(crate) const DAMAGED: &str = "its definition is damaged in the file";

/// Why one is lost that the file should have, and has not.
pub(crate) const MISSING: &str = "its definition is gone from the file";

/// A list has so many bytes at a time: the body that brings it there is its last.
const LIST_BYTES: usize = 2 << 20;

impl Shared {
    /// Reads the bodies of the first of these shapes on the writer's own connection, if it has
    /// one, up to a bound in bytes and of one at least.
    pub(crate) fn read_bodies(&self, conn: Option<&Connection>, entries: &[Entry]) -> ReadBodies {
        let Some(conn) = conn else {
            return Err(ReadError::NotOurs("it is not open".into()));
        };
        // The connection that writes is of the database that the store reads now.
        Ok(self.read_stored(conn, self.cache.database(), entries)?)
    }

    /// The same on any connection to the file of this `database`. A body that is asked for
    /// alone is kept warm; many at once are a list.
    pub(crate) fn read_stored(
        &self,
        conn: &Connection,
        database: u64,
        entries: &[Entry],
    ) -> rusqlite::Result<Vec<Option<Body>>> {
        let mut bytes = 0;
        let mut bodies = Vec::with_capacity(entries.len());
        for entry in entries {
            let stored = row::read_body(conn, entry)?;
            if matches!(stored, Stored::Damaged) {
                self.lose(entry, DAMAGED);
            }
            let body = stored.whole();
            bytes += body.as_ref().map_or(0, Body::size);
            bodies.push(body);
            if bytes >= LIST_BYTES {
                break;
            }
        }
        if let ([entry], [Some(body)]) = (entries, bodies.as_slice()) {
            let key = cache::key(database, entry.row);
            self.cache.keep_wanted(key, self.dictionary.pack(body));
        }
        Ok(bodies)
    }

    /// Those of these shapes without a body that were not removed in the meantime, and whose
    /// bodies should be in the file.
    pub(crate) fn missing<'e>(
        &self,
        entries: &'e [Entry],
        bodies: &[Option<Body>],
    ) -> impl Iterator<Item = &'e Entry> {
        let bodiless = entries.iter().zip(bodies).filter(|(_, body)| body.is_none());
        bodiless.map(|(entry, _)| entry).filter(|entry| {
            let there = self.index.by_handle(&entry.handle);
            there.is_some_and(|(_, there)| there.row == entry.row)
                && self.pending.is_committed(entry.row)
        })
    }

    /// Takes a shape out whose definition is of no use, in memory and in the file. A follower
    /// leaves that to the writer, and serves the shape no more than the writer does.
    pub(crate) fn lose(&self, entry: &Entry, reason: &str) {
        let name = String::from_utf8_lossy(&entry.handle);
        let lost = {
            let mut queue = self.queue.lock();
            let there = self
                .index
                .known(&queue.mutator, &entry.handle)
                .filter(|(_, now)| now.row == entry.row);
            match there {
                Some((id, there)) if self.state().writable().is_ok() => {
                    let handle: Arc<[u8]> = Arc::from(there.handle.as_slice());
                    self.pending.removed(there.row, Arc::clone(&handle));
                    self.index.remove(&mut queue.mutator, id, &there);
                    queue.push(Change::Remove { row: there.row, handle }, false);
                    true
                }
                Some(_) => {
                    drop(queue);
                    warn!(handle = %name, %reason, "a shape is not served");
                    return;
                }
                // Somebody else has seen to it, or it was removed.
                None => false,
            }
        };
        if lost {
            error!(handle = %name, %reason, "a shape is lost");
            self.counters.lost.fetch_add(1, Relaxed);
            self.emit(Event::Lost { handle: entry.handle.clone(), reason: reason.into() });
            self.mail.wake();
        }
    }
}
