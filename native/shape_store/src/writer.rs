//! The one thread that writes: it opens the file, fills the index, commits what
//! is queued in batches, and ends when the store is closed and the queue empty.

use std::{
    collections::{HashSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, config::DbConfig, params};
use tracing::{error, info, warn};

use crate::{
    batch::{Batch, Fault, MAX_BYTES, MAX_OPS, Refused, Written, is_corruption, is_damage},
    connection::{self, GrantError, Lease, WRITER_SLOT},
    database,
    entry::RowId,
    error::{OpenError, ReadError},
    event::Event,
    file::{self, FileId, FileLease, Presence},
    import::Verify,
    load::{Followed, Loader},
    options::{Location, Options, Synchronous},
    queue::{Change, Done, Queued, Seq},
    rebuild,
    schema::{self, Position},
    shared::{Command, Shared, State},
    waits::Outcome,
};

/// The pause after a batch failed once; each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

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
    /// Released last, when the file is closed.
    presence: Presence,
    _lease: Option<FileLease>,
}

/// A standby's view of the other writer.
struct Following {
    seen: Followed,
    /// What `PRAGMA data_version` gave then.
    version: i64,
    /// Which file that was: the writer puts another in its place when it turns out
    /// to be corrupt.
    file: Option<FileId>,
    /// When to look again.
    next: Instant,
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
            let batch = self.next_batch();
            if batch > 0 {
                self.commit(batch);
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
        let Some(conn) = &self.conn else { return Err(no_connection().into()) };
        let batch = Batch {
            index: &self.shared.index,
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
        let mut done = Done::default();
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
                Change::Snapshot { .. } | Change::Reset { .. } => {}
            }
        }
        shared.queue.lock().release(&done);
        let set_aside: Vec<Seq> = refused.iter().map(|offset| first + *offset as Seq).collect();
        shared.waits.publish(durable, &set_aside);
        shared.grant_room();
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
        let mut done = Done::default();
        left.iter().for_each(|queued| done.count(&queued.change));
        self.shared.queue.lock().release(&done);
        self.shared.waits.end(Outcome::Fenced);
        self.shared.emit(Event::Fenced { epoch, ops: left.len() });
        self.close_connection();
    }

    /// Waits for something to do, and sees to idle connections and to the other
    /// writer meanwhile.
    fn rest(&mut self) {
        self.shared.about_to_rest();
        // Whatever was asked for before that has told nobody.
        let asked = !self.shared.queue.lock().is_empty()
            || !self.shared.writer_line.lock().line.is_empty()
            || self.next_batch() > 0;
        if asked {
            self.shared.awoken();
            return;
        }
        self.follow();
        let next_follow = self.following.as_ref().map(|following| following.next);
        let wake = [next_follow, self.next_idle()].into_iter().flatten().min();
        let command = match wake {
            Some(at) => self.commands.recv_deadline(at),
            None => self.commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        self.shared.awoken();
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
        self.shared.keep_one(rows, &bodies);
        Ok(bodies)
    }

    // --- lending the connection

    /// Lends the connection to the first in line, and to the next when it comes
    /// back. The queue waits meanwhile.
    fn lend(&mut self) {
        loop {
            let next = self.shared.writer_line.lock().line.pop_front();
            let Some((_, notify)) = next else { return };
            if let Err(error) = self.reopen() {
                notify(Err(error.into()));
                continue;
            }
            let Some(conn) = self.conn.take() else {
                notify(Err(GrantError::Closed));
                continue;
            };
            let shared = Arc::clone(&self.shared);
            let home = move |conn| {
                if let Some(Command::Return(conn)) = shared.command(Command::Return(conn)) {
                    // The writer did not wait for it: closed where it is, on a
                    // thread of its own.
                    let _ = std::thread::Builder::new().spawn(move || drop(conn));
                }
            };
            notify(Ok(Lease::new(conn, WRITER_SLOT, Box::new(home))));
            self.await_return();
        }
    }

    fn await_return(&mut self) {
        let mut later = Vec::new();
        while self.conn.is_none() {
            let command = self.commands.recv();
            match command {
                Ok(Command::Return(conn)) => self.take_back(conn),
                Ok(command @ (Command::Promote(_) | Command::Read(..) | Command::Check)) => {
                    later.push(command);
                }
                Ok(command) => self.obey(command),
                // The borrower is gone with every handle of the store.
                Err(_) => break,
            }
        }
        for command in later {
            self.obey(command);
        }
    }

    fn take_back(&mut self, conn: Connection) {
        // Its borrower may have died in a transaction.
        let clean = conn.is_autocommit() || conn.execute_batch("ROLLBACK").is_ok();
        self.conn = Some(conn);
        self.used = Instant::now();
        if !clean {
            self.close_connection();
        }
    }

    // --- the connection

    fn reopen(&mut self) -> rusqlite::Result<()> {
        if self.corrupt.is_some() {
            // Opening would make an empty file.
            return Err(no_connection());
        }
        if self.conn.is_none() {
            self.conn = Some(connection::open_writer(&self.shared.options)?);
            self.shared.count_connection(true);
        }
        self.used = Instant::now();
        Ok(())
    }

    fn close_connection(&mut self) {
        // What is in memory is gone with its connection.
        if self.shared.options.location != Location::Memory && self.conn.take().is_some() {
            self.shared.count_connection(false);
        }
    }

    /// Closes what had no use for a while; says when to look again.
    fn next_idle(&mut self) -> Option<Instant> {
        let idle = self.shared.options.connection_idle;
        let now = Instant::now();
        let readers =
            now.checked_sub(idle).and_then(|before| self.shared.readers.close_idle(before));
        // The one connection of exclusive mode stays, and so does a standby's,
        // which it watches the file with.
        if self.shared.options.exclusive || self.following.is_some() || self.conn.is_none() {
            return readers;
        }
        if now.duration_since(self.used) >= idle {
            self.close_connection();
            return readers;
        }
        Some(readers.map_or(self.used + idle, |at| at.min(self.used + idle)))
    }

    // --- who writes

    /// Loads the index and becomes the writer; nobody else has the file. One that
    /// passed for sound and cannot be loaded is moved aside after all: then says
    /// where it is.
    fn start_writing(&mut self) -> Result<Option<PathBuf>, OpenError> {
        let error = match self.load_and_raise() {
            Ok(()) => return Ok(None),
            Err(error) => error,
        };
        let Location::File(path) = &self.shared.options.location else {
            return Err(self.named(error));
        };
        if !is_damage(&error) {
            return Err(self.named(error));
        }
        let path = path.clone();
        self.close_connection();
        self.loader().clear();
        let (conn, quarantined) =
            database::start_empty(&self.shared.options, &path, &error.to_string())?;
        self.conn = Some(conn);
        self.shared.count_connection(true);
        self.load_and_raise().map_err(|error| self.named(error))?;
        Ok(Some(quarantined))
    }

    fn load_and_raise(&mut self) -> rusqlite::Result<()> {
        let Some(conn) = &self.conn else { return Err(no_connection()) };
        self.position = self.loader().load(conn)?;
        self.epoch = raise_epoch(conn, &self.shared.options)?;
        self.shared.counters.epoch.store(self.epoch, Relaxed);
        Ok(())
    }

    fn named(&self, source: rusqlite::Error) -> OpenError {
        let path = match &self.shared.options.location {
            Location::File(path) => path.clone(),
            Location::Memory => ":memory:".into(),
        };
        OpenError::Sqlite { path, source }
    }

    fn start_following(&mut self) -> rusqlite::Result<()> {
        self.reopen()?;
        let Some(conn) = &self.conn else { return Err(no_connection()) };
        keep_log_on_close(conn, true)?;
        // Before the load: a change during it counts as unseen.
        let (version, file) = (data_version(conn)?, self.file_id());
        let seen = self.loader().load_to_follow(conn)?;
        let next = Instant::now() + self.shared.options.follow_interval;
        self.following = Some(Following { seen, version, file, next });
        Ok(())
    }

    /// A standby's look at what the writer changed since, when it is due.
    fn follow(&mut self) {
        let Some(mut following) = self.following.take_if(|f| f.next <= Instant::now()) else {
            return;
        };
        if let Err(error) = self.look(&mut following) {
            self.shared.counters.faults.fetch_add(1, Relaxed);
            warn!(reason = %error, "a standby could not follow the writer of its file");
        }
        following.next = Instant::now() + self.shared.options.follow_interval;
        self.following = Some(following);
    }

    fn look(&mut self, following: &mut Following) -> rusqlite::Result<()> {
        let file = self.file_id();
        if file != following.file {
            self.close_connection();
            self.shared.readers.close_idle(Instant::now());
        }
        self.reopen()?;
        let Some(conn) = &self.conn else { return Err(no_connection()) };
        keep_log_on_close(conn, true)?;
        let version = data_version(conn)?;
        if file != following.file {
            following.seen = self.loader().load_to_follow(conn)?;
        } else if version != following.version {
            self.loader().follow(conn, &mut following.seen)?;
        }
        following.version = version;
        following.file = file;
        Ok(())
    }

    fn file_id(&self) -> Option<FileId> {
        match &self.shared.options.location {
            Location::File(path) => file::id(path),
            Location::Memory => None,
        }
    }

    /// Becomes the writer of the file, with all that the other one wrote.
    fn promote(&mut self) -> Result<(), String> {
        match self.shared.state() {
            State::Active => return Ok(()),
            State::Standby | State::Fenced => {}
            state => return Err(format!("the store is {state:?}").to_lowercase()),
        }
        let promoted = self.promote_in_time().map_err(|error| error.to_string());
        if promoted.is_ok() {
            self.fenced = false;
            self.shared.counters.epoch.store(self.epoch, Relaxed);
            self.shared.waits.begin_again(self.shared.queue.lock().last());
            self.shared.enter(State::Active);
            info!(epoch = self.epoch, "became the writer of the shape database");
            self.shared.emit(Event::Promoted { epoch: self.epoch });
        }
        promoted
    }

    /// The other one may be in the middle of one batch after another.
    fn promote_in_time(&mut self) -> rusqlite::Result<()> {
        let deadline = Instant::now() + PROMOTE_TIMEOUT;
        loop {
            match self.try_promote() {
                Err(error)
                    if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                        && Instant::now() < deadline => {}
                other => return other,
            }
        }
    }

    fn try_promote(&mut self) -> rusqlite::Result<()> {
        self.reopen()?;
        let Some(conn) = &self.conn else { return Err(no_connection()) };
        keep_log_on_close(conn, false)?;
        // The epoch first: what the other one commits after it, it cannot.
        let epoch = raise_epoch(conn, &self.shared.options)?;
        let loader = Loader { index: &self.shared.index, queue: &self.shared.queue };
        self.position = match &mut self.following {
            Some(following) => {
                loader.follow(conn, &mut following.seen)?;
                following.seen.position()
            }
            None => {
                // Fenced once: what was queued then is not in the file.
                let seen = loader.load_to_follow(conn)?;
                self.shared.pending.clear();
                seen.position()
            }
        };
        self.following = None;
        self.epoch = epoch;
        self.skipped.clear();
        Ok(())
    }

    fn loader(&self) -> Loader<'_> {
        Loader { index: &self.shared.index, queue: &self.shared.queue }
    }

    // --- the ends

    /// Whether the file is sound, which a reader doubts.
    fn check(&mut self) {
        let answer = self.reopen().and_then(|()| {
            let conn = self.conn.as_ref().ok_or_else(no_connection)?;
            conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
        });
        let corruption = match answer {
            Ok(answer) if answer == "ok" => None,
            Ok(answer) => Some(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
                Some(answer),
            )),
            Err(error) => is_corruption(&error).then_some(error),
        };
        // What cannot be rebuilt now is met again by the next reader or batch.
        if let Some(corruption) = corruption
            && self.shared.state() == State::Active
            && self.quarantine(&corruption).is_ok()
        {
            let _ = self.rebuild();
        }
        self.shared.checked();
    }

    /// Moves a corrupt file aside. Until another is written from memory nothing
    /// can be committed.
    fn quarantine(&mut self, corruption: &rusqlite::Error) -> Result<(), OpenError> {
        let Location::File(path) = &self.shared.options.location else { return Ok(()) };
        error!(path = %path.display(), reason = %corruption, "the shape database is corrupt, writing it anew from memory");
        if self.conn.take().is_some() {
            self.shared.count_connection(false);
        }
        self.corrupt = Some(file::quarantine(path)?);
        self.shared.readers.renew();
        Ok(())
    }

    /// Puts a sound file, written from memory, in the place of a corrupt one that
    /// was moved aside.
    fn rebuild(&mut self) -> Result<(), OpenError> {
        let (Location::File(path), Some(corrupt)) = (&self.shared.options.location, &self.corrupt)
        else {
            return Ok(());
        };
        let rebuilt = rebuild::rebuild(&self.shared, path, corrupt, self.epoch, self.position)?;
        let lost = rebuilt.lost_handles();
        for (id, entry) in &rebuilt.lost {
            let mut queue = self.shared.queue.lock();
            // It may have been removed meanwhile, and its cell filled again.
            if self.shared.index.get(*id).is_some_and(|now| now.row == entry.row) {
                self.shared.index.remove(&mut queue.free, *id, entry);
            }
        }
        self.conn = Some(rebuilt.conn);
        self.shared.count_connection(true);
        self.unsure = None;
        info!(shapes = rebuilt.shapes, lost = lost.len(), "wrote the shape database anew");
        if let Some(quarantined) = self.corrupt.take() {
            self.shared.emit(Event::Rebuilt { quarantined, shapes: rebuilt.shapes, lost });
        }
        Ok(())
    }

    fn close(&mut self) {
        end(&self.shared, State::Closed, Outcome::Closed);
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

/// Makes the next epoch this store's, and notes that the file is in use: on the
/// disk, at any level, or a loss of power could leave a damaged file that says that
/// it needs no check.
fn raise_epoch(conn: &Connection, options: &Options) -> rusqlite::Result<i64> {
    let level = |level| connection::synchronous(options, level);
    conn.pragma_update(None, "synchronous", level(Synchronous::Full))?;
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    let epoch = schema::read_meta_number(&tx, "epoch")? + 1;
    schema::write_meta(&tx, "epoch", epoch)?;
    schema::write_meta(&tx, "clean", 0)?;
    tx.commit()?;
    conn.query_row("PRAGMA wal_checkpoint", [], |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", level(options.synchronous))?;
    Ok(epoch)
}

/// A standby does not remove the log when it closes: its file may have been renamed,
/// and the log that has the name by then belongs to another.
fn keep_log_on_close(conn: &Connection, keep: bool) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(drop)
}

fn data_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("PRAGMA data_version", params![], |row| row.get(0))
}

fn no_connection() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
        Some("the write connection is not to be had".into()),
    )
}
