//! A store, as its callers see it.

mod flags;
mod meta;

use std::{
    sync::{Arc, Weak},
    thread,
};

pub use self::meta::Coldest;

use rusqlite::{CachedStatement, Connection};

use crate::{
    Notify,
    body::{Body, Dictionary},
    connection::{self, Granted},
    entry::{
        Digest, Entry, Handle, MAX_HANDLE, MAX_OIDS, Oid, Oids, RowId, Snapshot, sort_handles,
    },
    error::{ChangeError, NotWritable, OpenError, ReadError},
    event::Events,
    import::Verify,
    index::Refusal,
    options::Options,
    queue::{self, Change, Operation, Queue, Seq},
    schema,
    shared::{Command, Reply, Shared, State},
    slab::EntryId,
    statistics::Statistics,
    ticket::Ticket,
    waits::{Outcome, WaitId, Waiting},
    writer,
};

/// An open store. Cheap to clone; all clones are the same store.
///
/// No method but the `read_` and the `ask_` ones touches the disk, and
/// none waits for it. Dropping the last clone lets the writer commit what is
/// queued and end, without waiting for it.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    /// Tells the writer when the last clone is gone.
    last_handle: Arc<LastHandle>,
}

/// A store that somebody else keeps open.
#[derive(Clone)]
pub struct WeakStore(Weak<LastHandle>);

impl WeakStore {
    /// The store, while anybody has it.
    pub fn upgrade(&self) -> Option<Store> {
        let last_handle = self.0.upgrade()?;
        Some(Store { shared: Arc::clone(&last_handle.0), last_handle })
    }
}

struct LastHandle(Arc<Shared>);

impl Drop for LastHandle {
    fn drop(&mut self) {
        self.0.enter(State::Closing);
        self.0.command(Command::Close);
    }
}

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

/// Where the body of a shape is.
#[derive(Debug)]
pub enum Found {
    /// In memory.
    Warm(Body),
    /// On disk, under this row.
    Cold(RowId),
}

/// A shape as a list found it: its handle, and where it was then.
#[derive(Clone, Debug)]
pub struct Place {
    id: EntryId,
    /// Its name.
    pub handle: Handle,
    /// The first of the tables it reads, or 0.
    pub table: Oid,
}

impl Store {
    /// Opens a store. Returns at once: the file is opened by the writer thread,
    /// and the first event tells how it went. Until then lookups find nothing
    /// and changes are refused.
    pub fn open(options: Options, events: Events, verify: Verify) -> Result<Self, OpenError> {
        Self::open_within(options, events, verify, |work| work())
    }

    /// [`Store::open`], with the whole life of the writer thread run inside
    /// `scope`: for a `tracing` subscriber of its own, say.
    pub fn open_within(
        options: Options,
        events: Events,
        verify: Verify,
        scope: impl FnOnce(Box<dyn FnOnce()>) + Send + 'static,
    ) -> Result<Self, OpenError> {
        let (send, receive) = crossbeam_channel::unbounded();
        let shared = Arc::new(Shared::new(options, events, send));
        let writers = Arc::clone(&shared);
        thread::Builder::new()
            .name("shape_db_writer".into())
            .spawn(move || scope(Box::new(move || writer::run(writers, receive, verify))))
            .map_err(OpenError::Thread)?;
        Ok(Self { last_handle: Arc::new(LastHandle(Arc::clone(&shared))), shared })
    }

    /// A reference that does not keep the store open.
    pub fn downgrade(&self) -> WeakStore {
        WeakStore(Arc::downgrade(&self.last_handle))
    }

    /// What the store is doing.
    pub fn state(&self) -> State {
        self.shared.state()
    }

    // --- changes

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
            let id = shared.index.insert(&mut queue.free, &entry, |id| {
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
            shared.index.remove(&mut queue.free, id, entry);
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
            let snapshot = snapshot.max(entry.snapshot);
            shared.index.set_snapshot(&mut queue.free, id, snapshot);
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
            // Before the first shape goes: who takes its handle again must come
            // later in the queue. Not held up by a full one: it makes room.
            let seq = queue.push(Change::Reset { below }, false);
            (below, queue.free.used(), seq)
        };
        let index = &self.shared.index;
        self.for_each_id(ids, |queue, id| {
            if let Some(entry) = index.get(id).filter(|entry| entry.row < below) {
                index.remove(&mut queue.free, id, &entry);
                self.shared.pending.forget(entry.row);
            }
        })?;
        self.shared.bodies.clear();
        self.shared.wake();
        Ok(seq)
    }

    /// Removes every shape whose snapshot is not complete, and names them. The
    /// number is that of the last removal, or of what was queued before.
    pub fn remove_incomplete(&self) -> Result<(Vec<Handle>, Seq), ChangeError> {
        let ids = {
            let queue = self.shared.queue.lock();
            self.shared.state().writable()?;
            queue.free.used()
        };
        let mut removed = Vec::new();
        let index = &self.shared.index;
        self.for_each_id(ids, |queue, id| {
            // Nearly every shape is complete: no more of it is copied than needed.
            if index.snapshot(&mut queue.free, id) == Some(Snapshot::Complete) {
                return;
            }
            if let Some(entry) = index.get(id) {
                let handle = Arc::from(entry.handle.as_slice());
                self.shared.pending.removed(entry.row, Arc::clone(&handle));
                index.remove(&mut queue.free, id, &entry);
                queue.push(Change::Remove { row: entry.row, handle }, false);
                removed.push(entry.handle);
            }
        })?;
        let last = self.shared.queue.lock().last();
        self.shared.wake();
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

    fn change_known(
        &self,
        handle: &[u8],
        request: Request<'_>,
        apply: impl FnOnce(&Shared, &mut Queue, EntryId, &Entry) -> Change,
    ) -> Result<Seq, ChangeError> {
        let changed = self.change(queue::add_bytes(handle.len()), request, |shared, queue| {
            let (id, entry) = shared.index.by_handle(handle).ok_or(ChangeError::Unknown)?;
            Ok(apply(shared, queue, id, &entry))
        });
        match changed {
            // Nobody waits for room to hear that there is no such shape.
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
        let seq = {
            let mut queue = shared.queue.lock();
            shared.state().writable()?;
            if !queue.admits(bytes, ticket) {
                return Err(ChangeError::Full);
            }
            let change = apply(shared, &mut queue)?;
            if let Some(ticket) = ticket {
                queue.end_ticket(ticket);
            }
            queue.push(change, request.log)
        };
        // While it is held, whoever lets it go rouses the writer.
        if shared.gate.allows() >= seq {
            shared.wake();
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

    // --- lookups

    /// The handle of the shape with this digest.
    pub fn handle_for(&self, digest: &Digest) -> Option<Handle> {
        self.shared.index.by_digest(digest).map(|(_, entry)| entry.handle)
    }

    /// All the index knows of a shape.
    pub fn entry(&self, handle: &[u8]) -> Option<Entry> {
        self.shared.index.by_handle(handle).map(|(_, entry)| entry)
    }

    /// Where the body of a shape is.
    pub fn body(&self, handle: &[u8]) -> Option<Found> {
        let (_, entry) = self.shared.index.by_handle(handle)?;
        Some(self.body_of(entry.row))
    }

    fn body_of(&self, row: RowId) -> Found {
        // Pending first: a body goes into the cache before it leaves there.
        let warm = self.shared.pending.body(row).or_else(|| self.shared.bodies.get(row));
        warm.map_or(Found::Cold(row), Found::Warm)
    }

    /// Reads a body from disk, unless it is in memory by now, and keeps it warm; none
    /// for a row that is gone.
    ///
    /// Touches the disk. In exclusive mode use [`Store::ask_bodies`].
    pub fn read_body(&self, row: RowId) -> Result<Option<Body>, ReadError> {
        if let Found::Warm(body) = self.body_of(row) {
            return Ok(Some(body));
        }
        let body = self.read(|conn| connection::read_body(conn, row))?;
        if let Some(body) = &body {
            self.shared.bodies.keep(row, self.shared.dictionary.pack(body));
        }
        Ok(body)
    }

    /// Shows `visit` the body of each place in turn, from memory or from disk; none
    /// for a shape that went in the meantime, though it may have been added again.
    /// None is kept warm, so that a list does not push out what is asked for.
    ///
    /// Touches the disk. In exclusive mode use [`Store::ask_bodies`].
    pub fn read_places(
        &self,
        places: &[Place],
        mut visit: impl FnMut(&Place, Option<&[u8]>),
    ) -> Result<(), ReadError> {
        let found: Vec<_> = places.iter().map(|place| self.body_at(place)).collect();
        let mut buffer = Vec::new();
        let mut show = |mut cold: Option<&mut CachedStatement<'_>>| {
            for (place, found) in places.iter().zip(&found) {
                match (found, &mut cold) {
                    (Some(Found::Warm(body)), _) => {
                        visit(place, Some(self.shared.dictionary.unpack(body, &mut buffer)));
                    }
                    (Some(Found::Cold(row)), Some(read)) => {
                        let mut rows = read.query([*row as i64])?;
                        let body = match rows.next()? {
                            Some(row) => Some(row.get_ref(0)?.as_blob()?),
                            None => None,
                        };
                        visit(place, body);
                    }
                    (None, _) | (Some(Found::Cold(_)), None) => visit(place, None),
                }
            }
            Ok(())
        };
        if !found.iter().any(|found| matches!(found, Some(Found::Cold(_)))) {
            return Ok(show(None)?);
        }
        self.read(|conn| {
            // One look at the file: each by itself would lock it anew.
            let snapshot = conn.unchecked_transaction()?;
            let mut read = snapshot.prepare_cached(schema::READ_BODY)?;
            show(Some(&mut read))
        })
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, ReadError> {
        let shared = &*self.shared;
        if matches!(shared.state(), State::Closed | State::Poisoned) {
            return Err(ReadError::Closed);
        }
        Ok(shared.readers.with(read).inspect_err(|error| shared.suspect(error))?)
    }

    /// What unpacks the bodies that this store gives.
    pub fn dictionary(&self) -> &Arc<Dictionary> {
        &self.shared.dictionary
    }

    /// Asks the writer to read bodies between two batches: in exclusive mode it
    /// has the only connection.
    pub fn ask_bodies(
        &self,
        rows: Vec<RowId>,
        notify: Notify<Result<Vec<Option<Body>>, ReadError>>,
    ) {
        let reply = Reply::new(notify, || Err(ReadError::Closed));
        self.shared.command(Command::Read(rows, reply));
    }

    /// Whether there is one connection for everything.
    pub fn is_exclusive(&self) -> bool {
        self.shared.options.exclusive
    }

    /// How many shapes there are.
    pub fn count(&self) -> usize {
        self.shared.index.count()
    }

    /// The handles of all shapes that read one of these tables, sorted, without
    /// repetition. `None` when there are more than `limit`.
    pub fn handles_for_relations(&self, oids: &[Oid], limit: usize) -> Option<Vec<Handle>> {
        self.shared.index.for_relations(oids, limit)
    }

    /// All shapes there are, in no order, but near to that of the file.
    pub fn places(&self) -> Vec<Place> {
        let ids = self.shared.queue.lock().free.used();
        let mut places = Vec::with_capacity(self.count());
        places.extend(ids.filter_map(|id| {
            let Entry { handle, oids, .. } = self.shared.index.get(id)?;
            Some(Place { id, handle, table: oids.first().copied().unwrap_or_default() })
        }));
        places
    }

    /// All the index knows of the shape that has the handle of a place, there or
    /// elsewhere.
    pub fn entry_at(&self, place: &Place) -> Option<Entry> {
        let here = self.shared.index.get(place.id).filter(|entry| entry.handle == place.handle);
        here.or_else(|| self.entry(&place.handle))
    }

    /// Where the body of that shape is.
    pub fn body_at(&self, place: &Place) -> Option<Found> {
        Some(self.body_of(self.entry_at(place)?.row))
    }

    // --- what is buffered

    /// Whether the shape's add is not committed.
    pub fn is_pending(&self, entry: &Entry) -> bool {
        self.shared.pending.holds(entry.row)
    }

    /// The shapes whose adds are not committed, in no order. Looks at each.
    pub fn pending_entries(&self) -> Vec<Entry> {
        let added = self.shared.pending.added_ids();
        let entries = added
            .into_iter()
            .filter_map(|(row, id)| self.shared.index.get(id).filter(|entry| entry.row == row));
        entries.collect()
    }

    /// The handles without a shape whose removal is not committed, in no order.
    /// Looks at each.
    pub fn pending_removals(&self) -> Vec<Handle> {
        let mut handles = self.shared.pending.removed_handles();
        handles.retain(|handle| self.shared.index.by_handle(handle).is_none());
        handles
    }

    /// Operations queued and not committed.
    pub fn pending_ops(&self) -> usize {
        self.shared.queue.lock().load().ops
    }

    /// Queued adds less queued removes.
    pub fn pending_count_diff(&self) -> i64 {
        self.shared.queue.lock().count_diff()
    }

    // --- waiting

    /// The number of the last change.
    pub fn last(&self) -> Seq {
        self.shared.queue.lock().last()
    }

    /// The highest number such that it and all before it are committed.
    pub fn durable(&self) -> Seq {
        self.shared.waits.durable()
    }

    /// Has `notify` told when this number is durable, or never will be.
    pub fn wait(&self, seq: Seq, notify: Notify<Outcome>) -> Waiting {
        self.shared.waits.wait(seq, notify)
    }

    /// Takes a wait back. False when the notification is on its way.
    pub fn cancel_wait(&self, id: WaitId) -> bool {
        self.shared.waits.cancel(id)
    }

    /// Lets the writer go as far as this number even while flushing is paused or
    /// manual, and at once: whoever waits for a number says so here.
    pub fn flush_to(&self, seq: Seq) {
        self.shared.gate.flush_to(seq);
        self.shared.wake_now();
    }

    /// Pauses or resumes the writer. What is committed by then stays so.
    pub fn pause(&self, paused: bool) {
        self.shared.gate.hold(paused);
        self.shared.wake();
    }

    /// Stands in line for room for an add with a body of this many bytes.
    /// `notify` is called when it is there, and when there will never be any:
    /// the change then says why. `None` when there is room now.
    pub fn wait_for_room(&self, body: usize, notify: Notify<()>) -> Option<Ticket> {
        let bytes = queue::add_bytes(body);
        let (number, load) = {
            let mut queue = self.shared.queue.lock();
            if queue.admits(bytes, None) || self.shared.state().writable().is_err() {
                return None;
            }
            (queue.stand_in_line(bytes, notify), queue.load())
        };
        self.shared.wake_now();
        self.shared.pressure_began(load.ops, load.bytes);
        Some(Ticket { shared: Arc::clone(&self.shared), number })
    }

    // --- connections

    /// Asks for a read connection. Touches the disk when one has to be opened.
    /// The number takes the request back while it stands in line.
    pub fn ask_reader(&self, notify: Notify<Granted>) -> Option<u64> {
        if self.shared.options.exclusive {
            return self.ask_writer(notify);
        }
        self.shared.readers.ask(notify)
    }

    /// Asks for the connection that writes. The queue waits while it is lent;
    /// callers do not notice.
    pub fn ask_writer(&self, notify: Notify<Granted>) -> Option<u64> {
        self.shared.ask_writer(notify)
    }

    /// Whether the writer does nothing, so that its connection can be had at once.
    pub fn is_resting(&self) -> bool {
        self.shared.rest.is_idle()
    }

    /// Takes back a request for a reader. False when the answer is on its way.
    pub fn cancel_reader(&self, number: u64) -> bool {
        if self.shared.options.exclusive {
            return self.cancel_writer(number);
        }
        self.shared.readers.cancel(number)
    }

    /// Takes back a request for the writer. False when the answer is on its way.
    pub fn cancel_writer(&self, number: u64) -> bool {
        self.shared.cancel_writer(number)
    }

    // --- its life

    /// Makes this store the writer of the file, having read all that the other
    /// one wrote. At once for a store that is it already.
    pub fn promote(&self, notify: Notify<Result<(), String>>) {
        let reply = Reply::new(notify, || Err("the store is closed".into()));
        self.shared.command(Command::Promote(reply));
    }

    /// Takes no more changes, commits what is queued, however long the disk makes
    /// it take, and closes. [`crate::Event::Closed`] tells when that is done.
    pub fn close(&self) {
        // At once, not when the writer comes to it: who asks from here on is told.
        self.shared.enter(State::Closing);
        self.shared.command(Command::Close);
    }

    /// A look at its numbers.
    pub fn statistics(&self) -> Statistics {
        Statistics::of(&self.shared)
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
