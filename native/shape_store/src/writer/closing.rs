//! The end of a writer: all that was queued is committed, and the file is noted as closed.

use std::time::Instant;

use rusqlite::Connection;
use tracing::warn;

use super::{Turn, ages::save_last, context::Context, writing::Writing};
use crate::{
    connection::open_to_write,
    fault::{Fault, Passing},
    file::{log_of, open_labelled},
    marks::{note_clean, note_clean_in_log},
};

/// How long a log may be in bytes that is left beside a file.
const SHORT_LOG: u64 = 2 << 20;

impl Writing {
    /// Leaves the file so that the next start need not check it. Whoever has the connection
    /// keeps it: the note is made on another.
    pub(super) fn leave(&mut self, context: &mut Context, now: Instant) -> Turn {
        if self.file.is_none() {
            return Turn::Done;
        }
        let untouched = self.is_untouched(context);
        let noted = match context.locks.try_batch() {
            true => self.note_clean(context, untouched),
            false => Err(Passing::Turn.into()),
        };
        match noted.is_ok() && !untouched {
            true => self.held.close_with_log(),
            false => self.held.close(),
        }
        context.locks.end();
        match noted {
            Ok(()) => Turn::Done,
            // All that was committed is in memory still: it is written anew first.
            Err(fault @ Fault::NotOurs(_)) => self.fault(context, fault, now),
            Err(fault) => {
                warn!(reason = %fault, "the shape database will be checked at the next start");
                Turn::Done
            }
        }
    }

    /// Whether the file was found in order, and nothing was written to it since but to its
    /// log, and little: then it stays as it is, with its log, and the end of a stack that did
    /// nothing need not wait for the disk.
    pub(super) fn is_untouched(&self, context: &Context) -> bool {
        let shared = &context.shared;
        let in_log = || shared.options.system.stat(&log_of(shared.path())).ok().flatten();
        self.found_clean
            && !self.noted
            // One that was made or taken over just now may be in its log alone.
            && self.label.position.batch > 0
            && !shared.options.exclusive
            && in_log().is_none_or(|log| log.len <= SHORT_LOG)
    }

    fn note_clean(&mut self, context: &mut Context, untouched: bool) -> Result<(), Fault> {
        if !self.held.is_lent() {
            self.reopen(context)?;
        }
        self.check_name(context)?;
        self.check_log(context)?;
        let options = &context.shared.options;
        let path = context.shared.path();
        let epoch = self.label.epoch;
        let leave = |conn: &Connection| {
            let before = || save_last(conn, &context.shared, epoch);
            match untouched {
                true => note_clean_in_log(conn, epoch, before),
                false => note_clean(conn, epoch, options, before),
            }
        };
        match self.held.get() {
            Some(conn) => leave(conn),
            None => {
                let open = || open_to_write(path, options);
                let opened = open_labelled(&*options.system, path, open)?;
                leave(&opened.conn)
            }
        }
    }
}
