//! Changes: in the index and in the queue, under one lock.

use std::sync::Arc;

use super::Store;
use crate::{
    cache::body::Body,
    entry::{Digest, Entry, Handle, MAX_HANDLE, MAX_OIDS, Oid, Oids, Snapshot, sort_handles},
    error::{ChangeError, NotWritable},
    index::{Refusal, slab::EntryId},
    queue::{self, Change, Operation, Queue, Seq, ticket::Ticket},
    shared::Shared,
};

/// A shape to add.
#[derive(Clone, Copy, Debug)]
pub struct NewShape<'a> {
    /// Its name.
    pub handle: &'a [u8],
    /// Its identity.
    pub digest: Digest,
    /// The host's hash of it.
    pub hash: u32,
    /// The tables it reads, in any order.
    pub oids: &'a [Oid],
    /// Eight bits that are the host's.
    pub flags: u8,
    /// The shape, serialised.
    pub body: &'a [u8],
}

/// How a change is asked for.
#[derive(Clone, Copy, Default)]
pub struct Request<'a> {
    /// Room that was promised, for a caller that had found the queue full.
    pub ticket: Option<&'a Ticket>,
    /// Whether the commit is to be told by name, in [`crate::Event::Committed`].
    pub log: bool,
}

impl Store {
    /// Adds a shape: from here on every lookup finds it. Gives the number its
    /// commit will have.
    pub fn add(&self, shape: NewShape<'_>, request: Request<'_>) -> Result<Seq, ChangeError> {
        check_handle(shape.handle)?;
        let bytes = queue::add_bytes(shape.body.len());
        self.check_bytes(bytes)?;
        if shape.oids.len() > MAX_OIDS {
            return Err(ChangeError::TooManyRelations { count: shape.oids.len() });
        }
        let mut oids = Oids::from_slice(shape.oids);
        oids.sort_unstable();
        oids.dedup();
        let mut entry = Entry {
            row: 0,
            handle: Handle::from_slice(shape.handle),
            digest: shape.digest,
            hash: shape.hash,
            snapshot: Snapshot::None,
            flags: shape.flags,
            oids,
        };
        // Copied before the lock is taken.
        let body = Body::plain(shape.body);
        self.change(bytes, request, |shared, queue| {
            entry.row = queue.next_row;
            // Pending before the index knows of it: who finds the entry must
            // find its body.
            let id = shared.index.insert(&mut queue.mutator, &entry, |id| {
                shared.pending.added(entry.row, id, Body::clone(&body));
            })?;
            queue.next_row += 1;
            Ok(Change::Add { row: entry.row, id, flags: entry.flags, body })
        })
    }

    /// Removes a shape: from here on no lookup finds it.
    pub fn remove(&self, handle: &[u8], request: Request<'_>) -> Result<Seq, ChangeError> {
        self.change_known(handle, request, |shared, queue, id, entry| {
            let handle = Arc::from(entry.handle.as_slice());
            shared.pending.removed(entry.row, Arc::clone(&handle));
            shared.index.remove(&mut queue.mutator, id, entry);
            Change::Remove { row: entry.row, handle }
        })
    }

    /// Moves a shape's snapshot on; it never goes back.
    pub fn mark(
        &self,
        handle: &[u8],
        snapshot: Snapshot,
        request: Request<'_>,
    ) -> Result<Seq, ChangeError> {
        self.change_known(handle, request, |shared, queue, id, entry| {
            let saved = shared.index.saved_snapshot(&mut queue.mutator, id, entry.row);
            let snapshot = snapshot.max(saved.unwrap_or(Snapshot::None));
            shared.index.set_snapshot(&mut queue.mutator, id, snapshot);
            Change::Snapshot { row: entry.row, id, snapshot }
        })
    }

    /// Queues an operation on a shape that is not there: it is counted and
    /// waited for like any other, and reported when its turn comes.
    pub fn note_unknown(
        &self,
        operation: Operation,
        handle: &[u8],
        request: Request<'_>,
    ) -> Result<Seq, ChangeError> {
        check_handle(handle)?;
        let change = Change::Unknown { operation, handle: handle.into() };
        self.change(change.bytes(), request, |_, _| Ok(change))
    }

    /// Removes every shape there is at this moment.
    pub fn reset(&self) -> Result<Seq, ChangeError> {
        let (below, ids, seq) = {
            let mut queue = self.shared.queue.lock();
            self.shared.state().writable()?;
            let below = queue.next_row;
            // Pushed before the first shape goes: an add that takes its handle again
            // must come later in the queue. A full queue does not hold it up, since
            // it makes room.
            self.shared.pending.reset(below);
            let seq = queue.push(Change::Reset { below }, false);
            (below, queue.mutator.used(), seq)
        };
        let index = &self.shared.index;
        self.for_each_id(ids, |queue, id| {
            if let Some(entry) = index.get(id).filter(|entry| entry.row < below) {
                index.remove(&mut queue.mutator, id, &entry);
                self.shared.pending.forget_add(entry.row);
            }
        })?;
        self.shared.cache.clear();
        self.shared.mail.wake();
        Ok(seq)
    }

    /// Removes every shape whose snapshot is not complete, and names them. The
    /// number is that of the last removal, or of what was queued before.
    pub fn remove_incomplete(&self) -> Result<(Vec<Handle>, Seq), ChangeError> {
        let ids = {
            let queue = self.shared.queue.lock();
            self.shared.state().writable()?;
            queue.mutator.used()
        };
        let mut removed = Vec::new();
        let index = &self.shared.index;
        self.for_each_id(ids, |queue, id| {
            // Nearly every shape is complete: no more of it is copied than needed.
            if index.snapshot(&mut queue.mutator, id) == Some(Snapshot::Complete) {
                return;
            }
            if let Some(entry) = index.get(id) {
                let handle = Arc::from(entry.handle.as_slice());
                self.shared.pending.removed(entry.row, Arc::clone(&handle));
                index.remove(&mut queue.mutator, id, &entry);
                queue.push(Change::Remove { row: entry.row, handle }, false);
                removed.push(entry.handle);
            }
        })?;
        let last = self.shared.queue.lock().last();
        self.shared.mail.wake();
        sort_handles(&mut removed);
        Ok((removed, last))
    }

    /// Visits ids with the right to change them, letting others in often; stops
    /// when the store takes no more changes.
    fn for_each_id(
        &self,
        ids: std::ops::Range<EntryId>,
        mut visit: impl FnMut(&mut Queue, EntryId),
    ) -> Result<(), NotWritable> {
        const PIECE: usize = 256;
        for start in ids.clone().step_by(PIECE) {
            let mut queue = self.shared.queue.lock();
            self.shared.state().writable()?;
            (start..ids.end).take(PIECE).for_each(|id| visit(&mut queue, id));
        }
        Ok(())
    }

    pub(super) fn change_known(
        &self,
        handle: &[u8],
        request: Request<'_>,
        apply: impl FnOnce(&Shared, &mut Queue, EntryId, &Entry) -> Change,
    ) -> Result<Seq, ChangeError> {
        let changed = self.change(queue::add_bytes(handle.len()), request, |shared, queue| {
            let (id, entry) =
                shared.index.known(&queue.mutator, handle).ok_or(ChangeError::Unknown)?;
            Ok(apply(shared, queue, id, &entry))
        });
        match changed {
            // A caller need not wait for room to hear that there is no such shape.
            Err(ChangeError::Full) if self.shared.index.by_handle(handle).is_none() => {
                Err(ChangeError::Unknown)
            }
            other => other,
        }
    }

    /// The one way a change is made: in the index and in the queue, under one
    /// lock, if there is room for it.
    fn change(
        &self,
        bytes: usize,
        request: Request<'_>,
        apply: impl FnOnce(&Shared, &mut Queue) -> Result<Change, ChangeError>,
    ) -> Result<Seq, ChangeError> {
        let shared = &*self.shared;
        self.check_bytes(bytes)?;
        let ticket = request.ticket.map(|ticket| ticket.number);
        let (seq, fills_batch) = {
            let mut queue = shared.queue.lock();
            shared.state().writable()?;
            if !queue.admits(bytes, ticket) {
                return Err(ChangeError::Full);
            }
            let change = apply(shared, &mut queue)?;
            if let Some(ticket) = ticket {
                queue.end_ticket(ticket);
            }
            let filled = queue.fills_batch();
            let seq = queue.push(change, request.log);
            (seq, queue.fills_batch() && !filled)
        };
        // While the gate is held, whoever opens it wakes the writer.
        if shared.gate.allows() >= seq {
            // More need not gather.
            if fills_batch { shared.mail.wake_now() } else { shared.mail.wake() }
        }
        Ok(seq)
    }

    /// What never fits need not wait for room.
    fn check_bytes(&self, bytes: usize) -> Result<(), ChangeError> {
        let bound = self.shared.options.max_pending.bytes;
        match bytes <= bound {
            true => Ok(()),
            false => Err(ChangeError::TooLarge { bytes, bound }),
        }
    }
}

fn check_handle(handle: &[u8]) -> Result<(), ChangeError> {
    match handle.len() {
        1..=MAX_HANDLE => Ok(()),
        len => Err(ChangeError::HandleLength { len }),
    }
}

impl From<Refusal> for ChangeError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Handle(..) => Self::DuplicateHandle,
            Refusal::Shape(there) => Self::DuplicateShape(there.handle),
            Refusal::NoRoom => Self::IndexFull,
        }
    }
}
