//! Being the writer of the file.

use std::{
    collections::{HashSet, VecDeque},
    io,
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::{
    Next, Turn, commit::Failing, context::Context, held::Held, opening::says, replacement::Damage,
};
use crate::{
    batch::{MAX_BYTES, MAX_OPS, Written},
    connection::{self, keep_log_on_close, open_to_write, prepare_to_write},
    entry::RowId,
    error::ReadError,
    fault::{Fault, Passing},
    file::{Label, Log, LogError, Unopened, open_labelled},
    options::{Options, Synchronous},
    queue::{Queue, Queued, Seq},
    schema,
    shared::Shared,
    system::{Anchor, System},
};

/// How often a writer that does nothing looks whether its file is there, and its own; and
/// how often one that had nothing to do for long.
const WATCH: Duration = Duration::from_secs(2);
const WATCH_IDLE: Duration = Duration::from_secs(10);

pub(super) struct Writing {
    pub(super) held: Held,
    /// None in memory.
    pub(super) file: Option<OwnFile>,
    /// What the file says of itself while it is where this writer left it.
    pub(super) label: Label,
    /// Taken from the queue, not committed; the head is `durable + 1`.
    pub(super) backlog: VecDeque<Queued>,
    /// Rows whose adds were passed over, their shapes having gone before.
    pub(super) skipped: HashSet<RowId>,
    /// What the last try wrote, when it is its commit that failed.
    pub(super) unsure: Option<Written>,
    pub(super) failing: Option<Failing>,
    /// Whether the disk knows that the file is being written.
    pub(super) noted: bool,
    /// What is wrong with the file, which another has to replace.
    pub(super) damage: Option<Damage>,
    /// Until when changes may gather for the next batch.
    pub(super) gather_until: Option<Instant>,
    /// Nothing is committed before this.
    pub(super) not_before: Option<Instant>,
    watch_at: Instant,
}

/// The file that this writer writes.
pub(super) struct OwnFile {
    pub(super) anchor: Box<dyn Anchor>,
    /// How long it was.
    pub(super) len: u64,
    /// What its log was after the last commit of the connection there is.
    pub(super) log: Option<Log>,
}

impl OwnFile {
    /// The file that is there now.
    pub(super) fn at(system: &dyn System, path: &Path) -> io::Result<Self> {
        Ok(Self { anchor: system.anchor(path)?, len: 0, log: None })
    }
}

impl Writing {
    /// Begins the role, on a connection to a file that says this of itself.
    pub(super) fn new(
        context: &mut Context,
        conn: Connection,
        file: Option<OwnFile>,
        label: Label,
    ) -> Self {
        let term = context.next_term();
        let shared = &context.shared;
        shared.counters.epoch.store(label.epoch, Relaxed);
        context.locks.say_epoch(&says(&shared.options), label.epoch);
        let changed = file.as_ref().is_some_and(|file| {
            let known = shared.known.is(file.anchor.id(), label.identity);
            shared.known.set(file.anchor.id(), label.identity);
            !known
        });
        if changed {
            shared.readers.renew();
        }
        Self {
            held: Held::new(shared, term, conn),
            file,
            label,
            backlog: VecDeque::new(),
            skipped: HashSet::new(),
            unsure: None,
            failing: None,
            noted: false,
            damage: None,
            gather_until: None,
            not_before: None,
            watch_at: shared.now() + WATCH,
        }
    }

    pub(super) fn step(&mut self, context: &mut Context, now: Instant) -> Turn {
        context.promoted(&Ok(()));
        if self.held.is_lent() {
            return match context.closing && !self.has_work(context) {
                true => self.leave(context, now),
                // Its return is a command.
                false => Turn::Next(Next::Wait(None)),
            };
        }
        if let Err(fault) = self.see_to_file(context, now) {
            return self.fault(context, fault, now);
        }
        self.serve(context, now);
        if self.held.is_lent() || context.doubted {
            return Turn::Next(Next::Again);
        }
        if let Some(until) = self.gather_until {
            context.shared.rest.about_to_gather();
            // Whoever was in a hurry before that has told nobody.
            if now < until && !self.is_pressed(context) {
                return Turn::Next(Next::Wait(Some(until)));
            }
            context.shared.rest.risen();
            self.gather_until = None;
        }
        self.take(context);
        let ops = self.next_batch(context);
        if ops > 0 && self.is_free(now) {
            return self.commit(context, ops, now);
        }
        if context.closing && ops == 0 && self.damage.is_none() {
            return self.leave(context, now);
        }
        self.rest(context, now)
    }

    /// What a fault of the file itself leads to.
    pub(super) fn fault(&mut self, context: &mut Context, fault: Fault, now: Instant) -> Turn {
        match fault {
            Fault::Fenced => self.fenced(context),
            Fault::NotOurs(problem) => {
                self.damaged(context, problem, now);
                Turn::Next(Next::Again)
            }
            // Met again by whoever needs the file.
            Fault::Transient(_) => Turn::Next(Next::Again),
        }
    }

    /// Everything queued, in an instant.
    fn take(&mut self, context: &Context) {
        let mut taken = context.shared.queue.lock().take();
        match self.backlog.is_empty() {
            true => self.backlog = taken,
            false => self.backlog.append(&mut taken),
        }
    }

    fn has_work(&self, context: &Context) -> bool {
        !self.backlog.is_empty() || !context.shared.queue.lock().is_empty() || self.damage.is_some()
    }

    /// How many operations at the head belong into one batch now.
    fn next_batch(&self, context: &Context) -> usize {
        if let Some(failing) = &self.failing {
            return failing.ops;
        }
        let shared = &context.shared;
        let allowed = if context.closing { Seq::MAX } else { shared.gate.allows() };
        let allowed = allowed.saturating_sub(shared.waits.durable());
        let mut bytes = 0;
        let fitting = self.backlog.iter().take(MAX_OPS).take_while(|queued| {
            let fits = bytes < MAX_BYTES;
            bytes += queued.change.bytes();
            fits
        });
        usize::try_from(allowed).unwrap_or(usize::MAX).min(fitting.count())
    }

    /// Whether a batch may be committed now.
    fn is_free(&self, now: Instant) -> bool {
        self.damage.is_none() && self.not_before.is_none_or(|at| at <= now)
    }

    /// Whether what is queued should be committed without delay.
    fn is_pressed(&self, context: &Context) -> bool {
        let shared = &context.shared;
        let full = |queue: &Queue| queue.load().ops >= MAX_OPS || queue.load().bytes >= MAX_BYTES;
        let pressed = |queue: &Queue| queue.is_pressed() || full(queue);
        context.closing
            || self.failing.is_some()
            || shared.gate.wanted() > shared.waits.durable()
            || !shared.writer_line.lock().is_empty()
            || pressed(&shared.queue.lock())
    }

    /// Looks after the file: what is doubted is checked, what is damaged replaced, and what
    /// nobody looked at for a while is looked at.
    fn see_to_file(&mut self, context: &mut Context, now: Instant) -> Result<(), Fault> {
        if self.file.is_none() {
            context.doubted = false;
            return Ok(());
        }
        if self.damage.as_ref().is_some_and(|damage| damage.retry_at <= now) {
            self.replace(context, now)?;
        }
        if std::mem::take(&mut context.doubted) {
            let checked = if self.damage.is_none() { self.check(context) } else { Ok(()) };
            context.shared.checked();
            checked?;
        }
        if self.damage.is_none() && self.watch_at <= now {
            let idle = self.held.get().is_none();
            self.watch_at = now + if idle { WATCH_IDLE } else { WATCH };
            self.check_name(context)?;
            if context.locks.told_epoch().is_some_and(|told| told > self.label.epoch) {
                // The file says whether that is so.
                self.held.close();
                self.reopen(context)?;
            }
        }
        Ok(())
    }

    /// Lends the connection to whoever wants it, and reads what was asked for.
    fn serve(&mut self, context: &mut Context, now: Instant) {
        while let Some(mut asked) = context.reads.pop_front() {
            let read = self.reopen(context).map_err(ReadError::from).and_then(|()| {
                self.held.use_now(now);
                context.shared.read_bodies(self.held.get(), &asked.entries)
            });
            // What cannot be read for the file's sake is read again when that was looked
            // into, and replaced if it has to be.
            if read.is_err() && (self.damage.is_some() || !asked.again) {
                context.doubted = self.damage.is_none();
                asked.again = true;
                context.reads.push_front(asked);
                break;
            }
            asked.reply.send(read);
        }
        if self.damage.is_none() && context.doubted {
            return;
        }
        let next = context.shared.writer_line.lock().pop();
        let Some(notify) = next else { return };
        match self.reopen(context) {
            Ok(()) => drop(self.held.lend(notify)),
            Err(fault) => {
                context.doubted = true;
                notify(Err(ReadError::from(fault).into()));
            }
        }
    }

    /// Waits for something to do, and closes what has no use meanwhile.
    fn rest(&mut self, context: &mut Context, now: Instant) -> Turn {
        let shared = Arc::clone(&context.shared);
        let retry_at = self.damage.as_ref().map(|damage| damage.retry_at);
        let not_before = self.not_before.filter(|at| *at > now);
        if retry_at.is_some() || not_before.is_some() {
            // Those who wait for a commit have nothing to send for.
            shared.rest.about_to_gather();
        } else {
            shared.rest.about_to_rest();
            // Whatever was asked for before that has told nobody.
            if !shared.queue.lock().is_empty() || self.next_batch(context) > 0 {
                return Turn::Next(Next::Again);
            }
        }
        if !shared.writer_line.lock().is_empty() {
            return Turn::Next(Next::Again);
        }
        let idle = self.close_idle(context, now);
        let watch_at = self.file.as_ref().map(|_| self.watch_at);
        Turn::Next(Next::first([retry_at, not_before, idle, watch_at]))
    }

    /// Closes what had no use for a while; says when to look again.
    fn close_idle(&mut self, context: &mut Context, now: Instant) -> Option<Instant> {
        let shared = &context.shared;
        let idle = shared.options.connection_idle;
        let readers = now.checked_sub(idle).and_then(|before| shared.readers.close_idle(before));
        let own = self.held.idle_since().map(|since| since + idle);
        // The one connection of exclusive mode stays.
        match own {
            Some(at) if !shared.options.exclusive && at <= now => {
                self.close_with_log(context);
                readers
            }
            Some(at) if !shared.options.exclusive => Some(readers.map_or(at, |r| r.min(at))),
            _ => readers,
        }
    }

    /// Closes the connection so that the log goes into the file, if the file has its name
    /// and nobody exchanges it meanwhile.
    pub(super) fn close_with_log(&mut self, context: &mut Context) {
        let ours = context.locks.try_batch() && self.check_name(context).is_ok();
        match ours && self.damage.is_none() {
            true => self.held.close_with_log(),
            false => self.held.close(),
        }
        context.locks.end();
        if let Some(file) = &mut self.file {
            file.log = None;
        }
    }

    /// Opens the connection, if it is closed, and makes sure that it leads to the file this
    /// writer left.
    pub(super) fn reopen(&mut self, context: &Context) -> Result<(), Fault> {
        if self.held.get().is_some() {
            return Ok(());
        }
        let shared = &context.shared;
        let (options, path) = (&shared.options, shared.path());
        let Some(file) = &mut self.file else {
            return Err(Fault::NotOurs("what was in memory is gone with its connection".into()));
        };
        let opened = open_labelled(&*options.system, path, || open_to_write(path, options))?;
        // It is not known yet whose the log is.
        keep_log_on_close(&opened.conn, true)?;
        self.label.check_writer(&opened.label)?;
        if opened.id != file.anchor.id() {
            return Err(Fault::NotOurs("another file is in its place".into()));
        }
        let maybe = self.unsure.as_ref().and_then(|written| written.position);
        if maybe != Some(opened.label.position) {
            self.label.check_position(&opened.label)?;
        }
        prepare_to_write(&opened.conn, options)?;
        file.log = None;
        self.held.put(opened.conn);
        Ok(())
    }

    /// Whether the file still has its name. What else has it may be what another writer put
    /// there.
    pub(super) fn check_name(&mut self, context: &Context) -> Result<(), Fault> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let shared = &context.shared;
        let (options, path) = (&shared.options, shared.path());
        match options.system.stat(path)? {
            None => Err(Fault::NotOurs("it is gone".into())),
            Some(there) if there.id == file.anchor.id() && there.len >= file.len => {
                file.len = there.len;
                Ok(())
            }
            Some(there) if there.id == file.anchor.id() => Err(Fault::NotOurs("it was cut".into())),
            Some(_) => {
                judge(shared, path, &self.label)?;
                Err(Fault::NotOurs("another file is in its place".into()))
            }
        }
    }

    /// Whether the log is the one that was written.
    pub(super) fn check_log(&mut self, context: &Context) -> Result<(), Fault> {
        let (Some(file), Some(conn)) = (&mut self.file, self.held.get()) else { return Ok(()) };
        let shared = &context.shared;
        if shared.options.exclusive {
            return Ok(());
        }
        let (system, path) = (&*shared.options.system, shared.path());
        match &file.log {
            Some(log) => log.check(system, path, conn)?,
            None => file.log = Log::look(system, path, conn)?,
        }
        Ok(())
    }

    /// The same after a commit, which is not known to be on the disk otherwise.
    pub(super) fn check_log_after(&mut self, context: &Context) -> Result<(), Fault> {
        let (Some(file), Some(conn)) = (&mut self.file, self.held.get()) else { return Ok(()) };
        let shared = &context.shared;
        if shared.options.exclusive {
            return Ok(());
        }
        let (system, path) = (&*shared.options.system, shared.path());
        let now = Log::look(system, path, conn)?;
        if let (Some(before), Some(now)) = (&file.log, &now) {
            before.check_before(now, system, path)?;
        }
        file.log = now;
        Ok(())
    }
}

/// Whether what is at a path is the file of a writer that came after this one.
pub(super) fn judge(shared: &Shared, path: &Path, label: &Label) -> Result<(), Fault> {
    let options = &shared.options;
    let there = open_labelled(&*options.system, path, || connection::open_to_read(path, options));
    match there {
        Ok(there) if there.label.identity == label.identity && there.label.epoch > label.epoch => {
            Err(Fault::Fenced)
        }
        _ => Ok(()),
    }
}

/// Makes a file this store's to write, in one transaction: under the next epoch, and with row
/// ids that the writer before cannot have given. What it gave and did not commit is no more
/// than it may have had queued, and nothing when it closed the file.
pub(super) fn take_over_file(conn: &Connection, options: &Options) -> rusqlite::Result<Label> {
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    let mut label = schema::read_label(&tx)?;
    label.epoch += 1;
    if schema::read_meta_number(&tx, "clean")? != 1 {
        let unsettled = schema::read_meta_number(&tx, "unsettled")?;
        label.position.next_row += unsettled.max(0).unsigned_abs();
    }
    schema::write_meta(&tx, "epoch", label.epoch)?;
    schema::write_meta(&tx, "clean", 0)?;
    schema::write_meta(&tx, "unsettled", options.max_pending.ops as i64)?;
    schema::write_meta(&tx, "stack", &options.stack)?;
    tx.execute(schema::SKIP_ROWS, params![label.position.next_row as i64])?;
    tx.commit()?;
    Ok(label)
}

/// Before anything is written without a sync, the disk has to know that the file is in use: a
/// loss of power could leave a damaged file that says that it needs no check. A write-ahead
/// log is left alone until the first batch, so that a start need not wait for the disk.
pub(super) fn note_in_use(conn: &Connection, options: &Options) -> rusqlite::Result<()> {
    let level = |level| connection::synchronous(options, level);
    conn.pragma_update(None, "synchronous", level(Synchronous::Full))?;
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    schema::write_meta(&tx, "clean", 0)?;
    tx.commit()?;
    conn.query_row("PRAGMA main.wal_checkpoint", [], |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", level(options.synchronous))
}

impl From<Unopened> for Fault {
    fn from(unopened: Unopened) -> Self {
        match unopened {
            Unopened::Absent => Self::NotOurs("it is gone".into()),
            Unopened::Exchanged => Self::Transient(Passing::Turn),
            Unopened::Io(error) => error.into(),
            Unopened::Sqlite(error) => error.into(),
        }
    }
}

impl From<LogError> for Fault {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Lost(_) => Self::NotOurs(error.to_string()),
            LogError::Io(error) => error.into(),
            LogError::Sqlite(error) => error.into(),
        }
    }
}
