//! What a writer closes: its connection when it has no use for it, and the file at the end,
//! when all that was queued is committed.

use std::time::Instant;

use rusqlite::Connection;
use tracing::warn;

use super::{Turn, ages::save_last, context::Context, writing::Writing};
use crate::{
    connection::open_to_write,
    fault::{Fault, Passing},
    file::open_labelled,
    marks::note_clean,
};

impl Writing {
    /// Leaves the file so that the next start need not check it. Whoever has the connection
    /// keeps it: the note is made on another.
    pub(super) fn leave(&mut self, context: &mut Context, now: Instant) -> Turn {
        if self.file.is_none() {
            return Turn::Done;
        }
        let noted = match context.locks.try_batch() {
            true => self.note_clean(context),
            false => Err(Passing::Turn.into()),
        };
        if noted.is_ok() {
            self.held.close_with_log();
        }
        context.locks.end();
        match noted {
            Ok(()) => Turn::Done,
            // All that was committed is in memory still: it is written anew first.
            Err(fault @ Fault::NotOurs(_)) => self.fault(context, fault, now),
            Err(fault) => {
                warn!(reason = %fault, "the shape database will be checked at the next start");
                self.held.close();
                Turn::Done
            }
        }
    }

    fn note_clean(&mut self, context: &mut Context) -> Result<(), Fault> {
        if !self.held.is_lent() {
            self.reopen(context)?;
        }
        self.check_name(context)?;
        self.check_log(context)?;
        let options = &context.shared.options;
        let path = context.shared.path();
        let epoch = self.label.epoch;
        let leave = |conn: &Connection| {
            note_clean(conn, epoch, options, || save_last(conn, &context.shared, epoch))
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

    /// Closes what had no use for a while; says when to look again.
    pub(super) fn close_idle(&mut self, context: &mut Context, now: Instant) -> Option<Instant> {
        let shared = &context.shared;
        let idle = shared.options.connection_idle;
        let readers = now.checked_sub(idle).and_then(|before| shared.readers.close_idle(before));
        let own = self.held.idle_since().map(|since| since + idle);
        // The one connection of exclusive mode stays, and one that another process counts on.
        let stays = shared.options.exclusive || shared.options.external_checkpoint;
        match own {
            Some(at) if !stays && at <= now => {
                self.close_with_log(context);
                readers
            }
            Some(at) if !stays => Some(readers.map_or(at, |r| r.min(at))),
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
}
