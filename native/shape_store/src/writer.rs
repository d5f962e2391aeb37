//! The one thread that writes: it opens the file, fills the index, commits what
//! is queued in batches, and ends when the store is closed and the queue empty.

mod ages;
mod lend;
mod repair;
mod role;

use std::{
    collections::{HashSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tracing::{error, info, warn};

use self::role::Following;
use crate::{
    batch::{Batch, Fault, MAX_BYTES, MAX_OPS, Refused, Written},
    connection::{self, GrantError},
    database,
    entry::RowId,
    error::{OpenError, ReadError},
    event::Event,
    file::{FileLease, Presence},
    import::Verify,
    options::{Location, Synchronous},
    queue::{Change, Queue, Queued, Seq, Totals},
    schema::{self, Position},
    shared::{Command, Shared, State},
    touch::Stamp,
    waits::Outcome,
};

/// The pause after a batch failed once; each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long the writer lets changes gather after a batch, while nobody waits for
/// them. A batch costs about as much as twenty adds for itself, so a writer that
/// starts at each change spends most of its time, and the disk's, on that.
const GATHER: Duration = Duration::from_millis(2);

/// How long becoming the writer contends with the one there is for the lock of the
/// file; each try waits a while of its own.
const PROMOTE_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Writer {
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    /// None while idle, or while it is lent.
    conn: Option<Connection>,
    used: Instant,
    /// Taken from the queue, not committed; the head is `durable + 1`.
    backlog: VecDeque<Queued>,
    skipped: HashSet<RowId>,
    epoch: i64,
    position: Position,
    /// While a standby.
    following: Option<Following>,
    /// Another store has become the writer.
    fenced: bool,
    closing: bool,
    failing: Option<Failing>,
    /// Where the corrupt file is, in whose place there is none yet.
    corrupt: Option<PathBuf>,
    /// What the last try wrote, when it is its commit that failed.
    unsure: Option<Written>,
    /// When to save when shapes were last read, and what was read last by then.
    ages_due: Instant,
    ages_saved: Stamp,
    /// Whether the disk knows that the file is being written.
    noted: bool,
    /// Released last, when the file is closed.
    presence: Presence,
    _lease: Option<FileLease>,
}

struct Failing {
    since: Instant,
    failures: u32,
    pause: Duration,
    /// How long the batch was: it is tried again as it was, because its commit
    /// may have succeeded in spite of its error.
    ops: usize,
}

/// The life of the writer thread.
pub(crate) fn run(shared: Arc<Shared>, commands: Receiver<Command>, mut verify: Verify) {
    let life = catch_unwind(AssertUnwindSafe(|| {
        match Writer::open(Arc::clone(&shared), commands, &mut verify) {
            Ok(mut writer) => {
                drop(verify);
                writer.work();
                writer.close();
            }
            Err(error) => {
                let reason = error.to_string();
                end(&shared, State::Closed, Outcome::Closed);
                shared.emit(Event::OpenFailed { reason });
            }
        }
    }));
    if let Err(panic) = life {
        let message = panic_message(&*panic);
        error!(%message, "the writer of the shape store panicked");
        end(&shared, State::Poisoned, Outcome::Poisoned);
        shared.emit(Event::Poisoned { message });
    }
}

/// Nothing will be committed any more: tells everybody who waits.
fn end(shared: &Shared, state: State, outcome: Outcome) {
    shared.enter(state);
    shared.waits.end(outcome);
    shared.readers.close();
    let line = {
        let mut line = shared.writer_line.lock();
        line.closed = true;
        std::mem::take(&mut line.line)
    };
    for (_, notify) in line {
        notify(Err(GrantError::Closed));
    }
    // Nothing is answered any more, and who drops the last reference may be a
    // scheduler: what takes long to free is freed here.
    shared.bodies.clear();
    shared.index.clear();
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

impl Writer {
    fn open(
        shared: Arc<Shared>,
        commands: Receiver<Command>,
        verify: &mut Verify,
    ) -> Result<Self, OpenError> {
        let options = &shared.options;
        let (lease, presence) = match &options.location {
            Location::Memory => (None, Presence::of_memory()),
            Location::File(path) => {
                let lease = FileLease::acquire(path, options.lease_timeout)?;
                (Some(lease), Presence::announce(path, options.presence_timeout)?)
            }
        };
        let standby = !presence.alone();
        let ready = database::prepare(options, presence.alone(), verify)?;
        shared.count_connection(true);
        let mut writer = Self {
            commands,
            conn: Some(ready.conn),
            used: Instant::now(),
            backlog: VecDeque::new(),
            skipped: HashSet::new(),
            epoch: 0,
            position: Position { batch: 0, next_row: 1 },
            following: None,
            fenced: false,
            closing: false,
            failing: None,
            unsure: None,
            corrupt: None,
            noted: false,
            ages_due: Instant::now() + shared.options.ages_interval,
            ages_saved: Stamp::NEVER,
            presence,
            _lease: lease,
            shared: Arc::clone(&shared),
        };
        let mut quarantined = ready.quarantined;
        if standby {
            writer.start_following().map_err(|source| writer.named(source))?;
        } else {
            quarantined = quarantined.or(writer.start_writing()?);
        }
        writer.presence.settle();
        shared.enter(if standby { State::Standby } else { State::Active });
        shared.emit(Event::Opened {
            shapes: shared.index.count(),
            standby,
            imported: ready.imported,
            quarantined,
        });
        Ok(writer)
    }

    fn work(&mut self) {
        loop {
            self.lend();
            // After the lending, during which more may have been queued.
            self.take();
            self.save_ages_when_due();
            let batch = self.next_batch();
            if batch > 0 {
                self.commit(batch);
                self.gather();
            } else if self.closing {
                return;
            } else {
                self.rest();
            }
        }
    }

    /// Everything queued, in an instant.
    fn take(&mut self) {
        let mut taken = self.shared.queue.lock().take();
        match self.backlog.is_empty() {
            true => self.backlog = taken,
            false => self.backlog.append(&mut taken),
        }
    }

    /// How many operations at the head to commit now.
    fn next_batch(&self) -> usize {
        if self.fenced {
            return 0;
        }
        if let Some(failing) = &self.failing {
            return failing.ops;
        }
        let allowed = if self.closing { Seq::MAX } else { self.shared.gate.allows() };
        let allowed = allowed.saturating_sub(self.shared.waits.durable());
        let mut bytes = 0;
        let fitting = self.backlog.iter().take(MAX_OPS).take_while(|queued| {
            let fits = bytes < MAX_BYTES;
            bytes += queued.change.bytes();
            fits
        });
        usize::try_from(allowed).unwrap_or(usize::MAX).min(fitting.count())
    }

    fn commit(&mut self, ops: usize) {
        let started = Instant::now();
        match self.write(ops) {
            Ok(written) => self.committed(ops, started, written),
            Err(Fault::Fenced) => self.fenced(),
            Err(Fault::Transient(error)) => self.failed(ops, started, &error),
            Err(Fault::Rebuild(error)) => self.failed(ops, started, &error),
            Err(Fault::Corrupt(error)) => {
                if let Err(why) = self.quarantine(&error).and_then(|()| self.rebuild()) {
                    self.failed(ops, started, &why);
                }
            }
        }
        self.used = Instant::now();
    }

    fn write(&mut self, ops: usize) -> Result<Written, Fault> {
        if self.corrupt.is_some() {
            self.rebuild().map_err(Fault::Rebuild)?;
        }
        self.reopen()?;
        self.note_in_use()?;
        let Some(conn) = &self.conn else { return Err(no_connection().into()) };
        let batch = Batch {
            index: &self.shared.index,
            dictionary: &self.shared.dictionary,
            epoch: self.epoch,
            position: self.position,
            skipped: &self.skipped,
        };
        batch.write(conn, self.backlog.iter().take(ops), &mut self.unsure)
    }

    fn committed(&mut self, ops: usize, started: Instant, written: Written) {
        let shared = &self.shared;
        let durable = shared.waits.durable() + ops as Seq;
        let first = shared.waits.durable() + 1;
        if let Some(position) = written.position {
            self.position = position;
        }
        self.skipped.extend(written.skipped);
        for row in written.passed {
            self.skipped.remove(&row);
        }
        let refused: HashSet<usize> = written.refused.iter().map(|one| one.offset).collect();
        let mut done = Totals::default();
        let mut unknown = Vec::new();
        for (offset, queued) in self.backlog.drain(..ops).enumerate() {
            done.count(&queued.change);
            match queued.change {
                // A refused body stays pending: memory is the only place it has.
                Change::Add { .. } if refused.contains(&offset) => {}
                Change::Add { row, body, .. } => {
                    // In the cache before it leaves the pending map, so that a
                    // reader finds it in one or the other.
                    shared.bodies.keep(row, body);
                    if !shared.pending.add_committed(row) {
                        shared.bodies.forget(row);
                    }
                }
                Change::Remove { row, .. } => {
                    shared.pending.forget(row);
                    shared.bodies.forget(row);
                }
                Change::Unknown { operation, handle } => unknown.push((operation, handle)),
                Change::Snapshot { .. }
                | Change::Flags(_)
                | Change::FlagsVersion(_)
                | Change::Reset { .. } => {}
            }
        }
        shared.queue.lock().release(&done);
        let set_aside: Vec<Seq> = refused.iter().map(|offset| first + *offset as Seq).collect();
        // Room first: who waited for the number finds it given away.
        shared.grant_room();
        shared.waits.publish(durable, &set_aside);
        let duration = started.elapsed();
        let counters = &shared.counters;
        counters.commits.fetch_add(1, Relaxed);
        counters.last_commit_us.store(duration.as_micros() as u64, Relaxed);
        counters.last_commit_ops.store(ops as u64, Relaxed);
        for (operation, handle) in unknown {
            let handle = String::from_utf8_lossy(&handle);
            warn!(?operation, %handle, "passed over an operation on a shape that was not there");
        }
        for Refused { operation, handle, reason, .. } in written.refused {
            counters.set_aside.fetch_add(1, Relaxed);
            let name = String::from_utf8_lossy(&handle);
            error!(?operation, handle = %name, %reason, "SQLite refused an operation, which was set aside");
            shared.emit(Event::SetAside { operation, handle, reason });
        }
        if let Some(failing) = self.failing.take() {
            let after = failing.since.elapsed();
            info!(failures = failing.failures, ?after, "the shape store writes again");
            shared.emit(Event::Recovered { failures: failing.failures, after });
        }
        shared.emit(Event::Committed { ops, duration, log: written.log });
    }

    /// The batch stays where it is. Pauses, doing what else is asked meanwhile.
    fn failed(&mut self, ops: usize, started: Instant, error: &dyn std::error::Error) {
        self.shared.counters.faults.fetch_add(1, Relaxed);
        let first = Failing { since: started, failures: 0, pause: FIRST_PAUSE, ops };
        let failing = self.failing.get_or_insert(first);
        failing.failures += 1;
        let pause = failing.pause;
        failing.pause = (pause * 2).min(LONGEST_PAUSE);
        warn!(reason = %error, failures = failing.failures, ops, retry_in = ?pause, "a commit of the shape store failed");
        self.shared.emit(Event::CommitFailed {
            ops,
            duration: started.elapsed(),
            reason: error.to_string(),
            retry_in: pause,
        });
        // A connection that failed may be stuck in its failure.
        self.close_connection();
        let until = Instant::now() + pause;
        while let Ok(command) = self.commands.recv_deadline(until) {
            self.obey(command);
        }
    }

    fn fenced(&mut self) {
        let ops = self.backlog.len();
        let epoch = self.epoch;
        error!(epoch, ops, "another instance became the writer of the shape database");
        self.fenced = true;
        self.failing = None;
        self.unsure = None;
        self.shared.enter(State::Fenced);
        self.take();
        let left = std::mem::take(&mut self.backlog);
        let mut done = Totals::default();
        left.iter().for_each(|queued| done.count(&queued.change));
        self.shared.queue.lock().release(&done);
        self.shared.waits.end(Outcome::Fenced);
        self.shared.emit(Event::Fenced { epoch, ops: left.len() });
        self.close_connection();
    }

    /// Lets changes gather for the next batch, unless there is one to fill or
    /// somebody who waits for it.
    fn gather(&mut self) {
        let until = Instant::now() + GATHER;
        self.shared.rest.about_to_gather();
        // Whoever was in a hurry before that has told nobody.
        while !self.is_pressed() {
            match self.commands.recv_deadline(until) {
                Ok(command) => self.obey(command),
                Err(_) => break,
            }
        }
        self.shared.rest.risen();
    }

    /// Whether what is queued should be committed without delay.
    fn is_pressed(&self) -> bool {
        let shared = &self.shared;
        let full = |queue: &Queue| queue.load().ops >= MAX_OPS || queue.load().bytes >= MAX_BYTES;
        let pressed = |queue: &Queue| queue.is_pressed() || full(queue);
        self.closing
            || self.failing.is_some()
            || shared.gate.wanted() > shared.waits.durable()
            || !shared.writer_line.lock().line.is_empty()
            || pressed(&shared.queue.lock())
    }

    /// Waits for something to do, and sees to idle connections and to the other
    /// writer meanwhile.
    fn rest(&mut self) {
        self.shared.rest.about_to_rest();
        // Whatever was asked for before that has told nobody.
        let asked = !self.shared.queue.lock().is_empty()
            || !self.shared.writer_line.lock().line.is_empty()
            || self.next_batch() > 0;
        if asked {
            self.shared.rest.risen();
            return;
        }
        self.follow();
        let next_follow = self.following.as_ref().map(|following| following.next);
        let wake = [next_follow, self.next_idle(), self.next_ages()].into_iter().flatten().min();
        let command = match wake {
            Some(at) => self.commands.recv_deadline(at),
            None => self.commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        self.shared.rest.risen();
        match command {
            Ok(command) => self.obey(command),
            Err(RecvTimeoutError::Timeout) => {}
            // Every handle of the store is gone.
            Err(RecvTimeoutError::Disconnected) => self.closing = true,
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Wake => {}
            Command::Return(conn) => self.take_back(conn),
            Command::Promote(reply) => {
                let promoted = self.promote();
                reply.send(promoted);
            }
            Command::Read(rows, reply) => {
                let bodies = self.read(&rows);
                reply.send(bodies);
            }
            Command::Check => self.check(),
            Command::Close => self.closing = true,
        }
    }

    fn read(&mut self, rows: &[RowId]) -> Result<Vec<Option<crate::Body>>, ReadError> {
        self.reopen()?;
        self.used = Instant::now();
        let conn = self.conn.as_ref().ok_or(ReadError::Closed)?;
        let bodies = rows.iter().map(|row| connection::read_body(conn, *row));
        let bodies = bodies.collect::<rusqlite::Result<Vec<_>>>();
        let bodies = bodies.inspect_err(|error| self.shared.suspect(error))?;
        // One that is asked for alone is kept warm; many at once are a list.
        if let ([row], [Some(body)]) = (rows, bodies.as_slice()) {
            self.shared.bodies.keep(*row, self.shared.dictionary.pack(body));
        }
        Ok(bodies)
    }

    fn close(&mut self) {
        end(&self.shared, State::Closed, Outcome::Closed);
        if self.epoch > 0 && !self.fenced {
            // All of them, read since or not: they have aged.
            self.ages_saved = Stamp::NEVER;
            self.save_ages();
        }
        if self.epoch > 0
            && !self.fenced
            && let Err(error) = self.leave_clean()
        {
            warn!(reason = %error, "the shape database will be checked at the next start");
        }
        self.close_connection();
        let durable = self.shared.waits.durable();
        self.shared.emit(Event::Closed { durable });
    }

    /// Notes that the file needs no check, once it is on the disk: what earlier
    /// checkpoints wrote may not be, with `synchronous=OFF`. A checkpoint syncs the
    /// file only when it has something to write, hence the note before it.
    fn leave_clean(&mut self) -> rusqlite::Result<()> {
        self.reopen()?;
        let Some(conn) = &self.conn else { return Err(no_connection()) };
        let full = connection::synchronous(&self.shared.options, Synchronous::Full);
        conn.pragma_update(None, "synchronous", full)?;
        for clean in [0, 1] {
            let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
            if schema::read_meta_number(&tx, "epoch")? != self.epoch {
                return Ok(());
            }
            schema::write_meta(&tx, "clean", clean)?;
            tx.commit()?;
            conn.query_row("PRAGMA wal_checkpoint", [], |_| Ok(()))?;
        }
        Ok(())
    }
}

fn no_connection() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
        Some("the write connection is not to be had".into()),
    )
}
