//! Being the writer of the file.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use rusqlite::Connection;

use super::{
    Turn, context::Context, gathering::Busy, opening::says, own_connection::OwnConnection,
    own_file::OwnFile, replacement::Damage, retry::Failing,
};
use crate::{
    entry::RowId,
    file::{Label, ages::latest_read, fault::Fault},
    index::touch::Stamp,
    pool::Next,
    queue::{Queue, Queued, Seq},
    writer::batch::{MAX_BYTES, MAX_OPS, Written},
};

/// How often a writer that does nothing looks whether its file is there, and its own; and
/// how often one that had nothing to do for long.
const WATCH: Duration = Duration::from_secs(2);
const WATCH_IDLE: Duration = Duration::from_secs(10);

pub(super) struct Writing {
    pub(super) own: OwnConnection,
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
    /// Whether the file was closed in order before this role began, and nobody else has had
    /// the connection since.
    pub(super) found_clean: bool,
    /// Whether the disk knows that the file is being written.
    pub(super) noted: bool,
    /// What is wrong with the file, which another has to replace.
    pub(super) damage: Option<Damage>,
    /// Until when changes may gather for the next batch.
    pub(super) gather_until: Option<Instant>,
    /// While changes come as fast as they gather.
    busy: Option<Busy>,
    /// Nothing is committed before this.
    pub(super) not_before: Option<Instant>,
    /// Whether somebody had the connection since the log was looked at.
    pub(super) returned: bool,
    watch_at: Instant,
    /// When the times are saved next at which shapes were read.
    pub(super) ages_due: Instant,
    /// The last of those that are saved already.
    pub(super) ages_saved: Stamp,
}

impl Writing {
    /// Begins the role, on a connection to a file that says this of itself.
    pub(super) fn new(
        context: &mut Context,
        conn: Connection,
        file: Option<OwnFile>,
        label: Label,
    ) -> Self {
        let tenure = context.next_tenure();
        let shared = &context.shared;
        shared.counters.epoch.store(label.epoch, Relaxed);
        shared.counters.trouble.is_over();
        context.locks.say_epoch(&says(&shared.options), label.epoch);
        if let Some(file) = &file {
            shared.reads_from(file.anchor.id(), label.identity);
        }
        let mut writing = Self {
            own: OwnConnection::new(shared, tenure, conn),
            file,
            label,
            backlog: VecDeque::new(),
            skipped: HashSet::new(),
            unsure: None,
            failing: None,
            found_clean: false,
            noted: false,
            damage: None,
            gather_until: None,
            busy: None,
            not_before: None,
            returned: false,
            watch_at: shared.now() + WATCH,
            ages_due: shared.now() + shared.options.ages_interval,
            // What is loaded is in the file, or was read when it was loaded.
            ages_saved: latest_read(shared),
        };
        writing.note_file(context);
        writing
    }

    pub(super) fn step(&mut self, context: &mut Context, now: Instant) -> Turn {
        context.promoted(&Ok(()));
        if self.own.is_lent() {
            self.busy = None;
            return match context.closing && !self.has_work(context) {
                true => self.leave(context, now),
                // Its return is a command.
                false => Turn::Next(Next::Wait(None)),
            };
        }
        if let Err(fault) = self.see_to_file(context, now) {
            return self.fault(context, fault, now);
        }
        if let Err(fault) = self.serve(context, now) {
            return self.fault(context, fault, now);
        }
        if self.own.is_lent() || context.doubted {
            return Turn::Next(Next::Again);
        }
        if let Some(until) = self.gather_until {
            context.shared.mail.wake_up.prepare_to_delay();
            // Whoever was in a hurry before that has told nobody.
            if now < until && !self.is_urgent(context) {
                return Turn::Next(Next::Wait(Some(until)));
            }
            context.shared.mail.wake_up.unparked();
            self.gather_until = None;
            self.busy = self.has_work(context).then(|| {
                let among = || Busy::among(context.shared.options.system.busy_writers());
                self.busy.take().unwrap_or_else(among)
            });
        }
        if self.ages_due(context).is_some_and(|at| at <= now) {
            return self.save_ages(context, now);
        }
        self.take(context);
        let ops = self.next_batch(context);
        if ops > 0 && self.is_free(now) {
            return self.commit(context, ops, now);
        }
        if context.closing && ops == 0 && self.damage.is_none() {
            return self.leave(context, now);
        }
        self.park(context, now)
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
    fn is_urgent(&self, context: &Context) -> bool {
        let shared = &context.shared;
        let urgent = |queue: &Queue| queue.has_waiters() || queue.fills_batch();
        context.closing
            || self.failing.is_some()
            || shared.gate.wanted() > shared.waits.durable()
            || !shared.writer_line.lock().is_empty()
            || urgent(&shared.queue.lock())
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
        if self.damage.is_none() && self.returned {
            let checked = self.check_log_after_others(context);
            // After an error that passes, the log is looked at again with the next step.
            self.returned = matches!(checked, Err(Fault::Transient(_)));
            if !self.returned {
                checked?;
            }
        }
        if std::mem::take(&mut context.doubted) {
            let checked = if self.damage.is_none() { self.check(context) } else { Ok(()) };
            context.shared.checked();
            checked?;
        }
        if self.damage.is_none() && self.watch_at <= now {
            let idle = self.own.get().is_none();
            self.watch_at = now + if idle { WATCH_IDLE } else { WATCH };
            self.check_name(context)?;
            if context.locks.told_epoch().is_some_and(|told| told > self.label.epoch) {
                // The file says whether that is so.
                self.own.close();
                self.reopen(context)?;
            }
        }
        Ok(())
    }

    /// Waits for something to do, and closes what has no use meanwhile.
    fn park(&mut self, context: &mut Context, now: Instant) -> Turn {
        let shared = Arc::clone(&context.shared);
        let retry_at = self.damage.as_ref().map(|damage| damage.retry_at);
        let not_before = self.not_before.filter(|at| *at > now);
        if retry_at.is_some() || not_before.is_some() {
            // Those who wait for a commit have nothing to send for.
            shared.mail.wake_up.prepare_to_delay();
        } else {
            shared.mail.wake_up.prepare_to_park();
            // Whatever was asked for before that has told nobody.
            if !shared.queue.lock().is_empty() || self.next_batch(context) > 0 {
                return Turn::Next(Next::Again);
            }
        }
        if !shared.writer_line.lock().is_empty() {
            return Turn::Next(Next::Again);
        }
        let idle = self.close_idle(context, now);
        if context.doubted {
            return Turn::Next(Next::Again);
        }
        // What is damaged needs no watch, and takes no ages.
        let watch_at = self.file.as_ref().map(|_| self.watch_at).filter(|_| self.damage.is_none());
        let ages_due = self.ages_due(context).filter(|_| self.damage.is_none());
        Turn::Next(Next::first([retry_at, not_before, idle, watch_at, ages_due]))
    }
}
