//! Saving when shapes were last read: now and then, like a batch, and at the end.

use std::time::Instant;

use rusqlite::Connection;
use tracing::warn;

use super::{Turn, context::Context, writing::Writing};
use crate::{
    file::{
        ages,
        epoch::note_in_use,
        fault::{Fault, Passing},
    },
    pool::Next,
    shared::Shared,
};

impl Writing {
    /// When that is due, unless the file cannot be written for now.
    pub(super) fn ages_due(&self, context: &Context) -> Option<Instant> {
        let shared = &context.shared;
        let keeps = shared.options.keep_ages && shared.has_file() && !context.closing;
        (keeps && self.failing.is_none() && self.damage.is_none()).then_some(self.ages_due)
    }

    /// Nobody waits for it: what cannot be saved is saved the next time.
    pub(super) fn save_ages(&mut self, context: &mut Context, now: Instant) -> Turn {
        self.ages_due = now + context.shared.options.ages_interval;
        let latest = ages::latest_read(&context.shared);
        if latest > self.ages_saved {
            let saved = match context.locks.try_batch() {
                true => self.try_save_ages(context),
                false => Err(Passing::Turn.into()),
            };
            context.locks.end();
            match saved {
                Ok(()) => self.ages_saved = latest,
                Err(Fault::Transient(reason)) => {
                    warn!(%reason, "cannot write when shapes were last read");
                }
                Err(fault) => return self.fault(context, fault, now),
            }
        }
        Turn::Next(Next::Again)
    }

    fn try_save_ages(&mut self, context: &Context) -> Result<(), Fault> {
        self.reopen(context)?;
        self.check_name(context)?;
        self.check_log(context)?;
        let shared = &context.shared;
        let Some(conn) = self.own.get() else { return Err(Passing::Turn.into()) };
        if !self.noted {
            note_in_use(conn, &shared.options)?;
            self.noted = true;
        }
        ages::save(conn, shared, self.label.epoch)?;
        self.check_log_after(context)?;
        self.own.use_now(shared.now());
        Ok(())
    }
}

/// At the end: read since or not, they have aged.
pub(super) fn save_last(conn: &Connection, shared: &Shared, epoch: i64) {
    if shared.options.keep_ages
        && let Err(reason) = ages::save(conn, shared, epoch)
    {
        warn!(%reason, "cannot write when shapes were last read");
    }
}
