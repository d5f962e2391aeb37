//! The end of a writer: all that was queued is committed, and the file is noted as closed.

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
}
