//! What a writer closes: its connection when it has no use for it, and the file at the end,
//! when all that was queued is committed.

use std::time::Instant;

use rusqlite::Connection;
use tracing::warn;

use super::{Turn, ages::save_last, context::Context, writing::Writing};
use crate::file::{
    connection::open_to_write,
    epoch::{note_clean, note_clean_in_log},
    fault::{Fault, Passing},
    integrity::is_whole,
    log_of, open_labelled,
};

/// How long a log may be in bytes that is left beside a file.
const SHORT_LOG: u64 = 2 << 20;

/// Where it is noted that the file was left in order.
enum Noted {
    InFile,
    /// And nowhere else: the log stays.
    InLog,
}

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
            false => self.check_in_others_turn(context),
        };
        match &noted {
            Ok(Noted::InLog) => self.own.close(),
            Ok(Noted::InFile) => self.own.close_with_log(),
            Err(_) => {}
        }
        context.locks.end();
        match noted {
            Ok(_) => Turn::Done,
            // All that was committed is in memory still: it is written anew first.
            Err(fault @ Fault::NotOurs(_)) => self.fault(context, fault, now),
            Err(fault) => {
                warn!(reason = %fault, "the shape database will be checked at the next start");
                self.own.close();
                Turn::Done
            }
        }
    }

    /// Whether the file was found in order, and nothing was written to it since but to its
    /// log, and little: then it stays as it is, with its log, and the end of a stack that did
    /// nothing need not wait for the disk.
    fn is_untouched(&self, context: &Context) -> bool {
        let shared = &context.shared;
        let in_log = || shared.options.system.stat(&log_of(shared.path())).ok().flatten();
        self.found_clean
            && !self.noted
            // One that was made or taken over just now may be in its log alone.
            && self.label.position.batch > 0
            && !shared.options.exclusive
            // What another process put into the file may not be on the disk.
            && !shared.options.external_checkpoint
            && in_log().is_none_or(|log| log.len <= SHORT_LOG)
    }

    /// Checks the file although another instance has the turn. That one may not become the
    /// writer in the end, and what was committed may be in memory here alone.
    fn check_in_others_turn(&mut self, context: &Context) -> Result<Noted, Fault> {
        self.check_file(context)?;
        Err(Passing::Turn.into())
    }

    fn check_file(&mut self, context: &Context) -> Result<(), Fault> {
        if !self.own.is_lent() {
            self.reopen(context)?;
        }
        self.check_name(context)?;
        self.check_log(context)
    }

    fn note_clean(&mut self, context: &mut Context, untouched: bool) -> Result<Noted, Fault> {
        self.check_file(context)?;
        let shared = &context.shared;
        let (options, path, epoch) = (&shared.options, shared.path(), self.label.epoch);
        let leave = |conn: &Connection| {
            let save = || save_last(conn, shared, epoch);
            if !untouched {
                note_clean(conn, epoch, options, save)?;
                return Ok(Noted::InFile);
            }
            note_clean_in_log(conn, epoch, save)?;
            // A log that makes the file longer, as ages may, would have the next start check
            // the whole file.
            if is_whole(conn, options, path)? {
                return Ok(Noted::InLog);
            }
            note_clean(conn, epoch, options, || ())?;
            Ok(Noted::InFile)
        };
        match self.own.get() {
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
        let own = self.own.idle_since().map(|since| since + idle);
        if own.is_some_and(|at| at <= now) {
            shared.pending.shrink();
        }
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
    /// and nobody exchanges it meanwhile. While the file is not what was written, the
    /// connection may be what is left of it, and stays.
    fn close_with_log(&mut self, context: &mut Context) {
        let ours = context.locks.try_batch() && self.check_name(context).is_ok();
        if self.damage.is_none() && matches!(self.check_log(context), Err(Fault::NotOurs(_))) {
            context.locks.end();
            context.doubted = true;
            return;
        }
        match ours && self.damage.is_none() && !self.is_untouched(context) {
            true => self.own.close_with_log(),
            false => self.own.close(),
        }
        context.locks.end();
    }
}
