//! Becoming the writer of the file, with all that the one before wrote.

use std::{sync::Arc, time::Instant};

use tracing::{error, info};

use super::{
    LOCK_PAUSE, Role,
    context::Context,
    following::Following,
    opening::says,
    own_file::OwnFile,
    replacement::{ReplaceError, Replaced, put_anew},
    writing::Writing,
};
use crate::{
    entry::RowId,
    event::Event,
    file::{
        self, Label, Locks, Opened,
        connection::{open_to_write, prepare_to_write, synchronous},
        draft::BodySource,
        epoch::take_over_file,
        fault::{Fault, Passing, is_busy},
        load::Loader,
        open_labelled,
    },
    options::Synchronous,
    shared::Shared,
    state::State,
};

/// More epochs than anybody begins unseen, and more rows than anybody gives.
const UNTOLD: i64 = 1 << 16;
const UNSEEN_ROWS: RowId = 1 << 32;

impl Following {
    /// Tries to become the writer, and answers those who want that when it is decided.
    pub(super) fn promote(&mut self, context: &mut Context, now: Instant) -> Option<Role> {
        let promoted = match self.take_turn(context) {
            Ok(true) => self.promote_in_turn(context),
            Ok(false) => Err(Fault::from(Passing::Turn).into()),
            Err(error) => Err(error),
        };
        context.locks.end();
        match promoted {
            Ok((writing, replaced)) => {
                let shared = Arc::clone(&context.shared);
                let epoch = writing.label.epoch;
                renumber(&shared);
                // Refused to one that began to close meanwhile, which sees to its file next.
                shared.enter(State::Active);
                info!(epoch, "became the writer of the shape database");
                shared.emit(Event::Promoted { epoch });
                if let Some((replaced, problem)) = replaced {
                    replaced.tell(&shared, problem);
                }
                Some(Role::Writing(Box::new(writing)))
            }
            // The other one may be in the middle of one batch after another.
            Err(error) if is_contended(&error) && self.may_wait(context, now) => {
                self.promote_at = Some(now + LOCK_PAUSE);
                None
            }
            Err(error) => {
                self.promote_at = None;
                context.promoted(&Err(error.to_string()));
                None
            }
        }
    }

    fn may_wait(&self, context: &Context, now: Instant) -> bool {
        context.promotions.iter().all(|promotion| now < promotion.deadline)
    }

    /// Shuts others out, beside the file that has the name now.
    fn take_turn(&self, context: &mut Context) -> Result<bool, ReplaceError> {
        let shared = Arc::clone(&context.shared);
        let system = &*shared.options.system;
        if !context.locks.are_lost(system)? {
            return Ok(context.locks.try_turn());
        }
        system.resolve(shared.path())?;
        let mut locks = Locks::open(system, shared.path())?;
        let turn = locks.try_turn();
        if turn {
            locks.announce(&says(&shared.options))?;
            context.locks = locks;
        }
        Ok(turn)
    }

    fn promote_in_turn(
        &mut self,
        context: &mut Context,
    ) -> Result<(Writing, Option<(Replaced, String)>), ReplaceError> {
        let shared = Arc::clone(&context.shared);
        let (options, path) = (&shared.options, shared.path());
        file::finish_replacement(&*options.system, path)?;
        // An epoch that was told may be of a writer whose file was exchanged since.
        let beyond = context.locks.told_epoch().unwrap_or_default().max(self.label.epoch);
        match self.take_over(&shared, beyond) {
            Ok((opened, label)) => Ok((self.begin_writing(context, opened, label)?, None)),
            Err(Fault::NotOurs(problem)) => {
                let (writing, replaced) = self.replace(context, &problem, beyond)?;
                Ok((writing, Some((replaced, problem))))
            }
            Err(fault) => Err(fault.into()),
        }
    }

    /// Makes the file this store's to write, and reads what was written since the last look.
    fn take_over(&mut self, shared: &Shared, beyond: i64) -> Result<(Opened, Label), Fault> {
        let (options, path) = (&shared.options, shared.path());
        self.leave_lost_log(shared)?;
        let opened = open_labelled(&*options.system, path, || open_to_write(path, options))?;
        if options.exclusive {
            // With a rollback journal the epoch is written into the file itself.
            let full = synchronous(options, Synchronous::Full);
            opened.conn.pragma_update(None, "synchronous", full)?;
        }
        // The epoch first: what the other one commits after it, it cannot.
        let label = take_over_file(&opened.conn, options, beyond)?;
        if options.exclusive {
            // Another mode takes the file alone.
            self.own.close();
        }
        prepare_to_write(&opened.conn, options)?;
        let loader = Loader::of(shared);
        shared.reads_from(opened.id, label.identity);
        match &mut self.seen {
            Some(seen) if seen.is(&opened) => loader.follow(&opened.conn, &mut seen.followed)?,
            _ => drop(loader.load_to_follow(&opened.conn)?),
        }
        loader.start_rows_at(label.position.next_row);
        Ok((opened, label))
    }

    /// The file is gone or damaged: this store is the one that has what was in it, up to its
    /// last look, and writes it anew. One that was the writer itself and never came to see
    /// what the other one wrote has what it had then.
    fn replace(
        &mut self,
        context: &mut Context,
        problem: &str,
        beyond: i64,
    ) -> Result<(Writing, Replaced), ReplaceError> {
        let shared = Arc::clone(&context.shared);
        if self.seen.is_none() && self.before.is_none() {
            return Err(Fault::NotOurs(problem.into()).into());
        }
        error!(
            path = %shared.path().display(), %problem,
            "the shape database to take over is not what was read, writing it anew from memory"
        );
        let mut label = self.label;
        label.epoch = match context.locks.told_epoch() {
            Some(_) => beyond + 1,
            // Nobody tells what a writer that lives may have by now.
            None => beyond + UNTOLD,
        };
        // The writer before may have written and given more than was seen of it.
        label.position.batch += 1;
        label.position.next_row += UNSEEN_ROWS;
        let conn = self.own.get().or(self.before.as_ref().and_then(|before| before.0.as_ref()));
        let source = BodySource { conn, patient: false };
        let (replaced, opened) = put_anew(&shared, label, &source)?;
        Loader::of(&shared).start_rows_at(label.position.next_row);
        Ok((self.begin_writing(context, opened, label)?, replaced))
    }

    fn begin_writing(
        &mut self,
        context: &mut Context,
        opened: Opened,
        label: Label,
    ) -> Result<Writing, ReplaceError> {
        let system = Arc::clone(&context.shared.options.system);
        let file = OwnFile::at(&*system, context.shared.path())?;
        if file.anchor.id() != opened.id {
            return Err(Fault::from(Passing::Turn).into());
        }
        // Before the writer's own is opened: there is one connection at a time.
        self.own.close();
        Ok(Writing::new(context, opened.conn, Some(file), label))
    }
}

/// Who waits for all changes so far names the last number, and that may be one that was given
/// up, by which this writer has nothing to commit. No change is taken yet.
fn renumber(shared: &Shared) {
    let mut queue = shared.queue.lock();
    if shared.waits.gave_up(queue.last()) {
        let nobodys = queue.skip();
        drop(queue);
        shared.waits.publish(nobodys, &[]);
    }
}

fn is_contended(error: &ReplaceError) -> bool {
    match error {
        ReplaceError::Fault(Fault::Transient(Passing::Turn)) => true,
        ReplaceError::Fault(Fault::Transient(Passing::Sqlite(error))) => is_busy(error),
        _ => false,
    }
}
