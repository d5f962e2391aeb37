//! Another file in the place of one that is damaged, gone or not this writer's.
//!
//! The file is written from memory beside the one there is, synced, and takes its place in a
//! step that a crash cannot stop half way; see [`file::begin_replacement`]. What cannot be
//! done yet is tried again, at the end of the store too. Only the present writer does this,
//! with all others shut out.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tracing::{error, warn};

use super::{
    Role, Turn,
    context::Context,
    following::Following,
    opening::{name_of, says},
    own_file::{OwnFile, judge},
    retry::{FIRST_PAUSE, LONGEST_PAUSE},
    writing::Writing,
};
use crate::{
    error_text::system,
    event::Event,
    file::{
        self, Locks, Opened, Presence,
        connection::{self, keep_log_on_close},
        draft::{self, BodySource, Draft},
        fault::{Fault, Passing, is_damage},
        integrity::quick_check,
        open_labelled,
    },
    shared::Shared,
};

mod placing;

pub(super) use self::placing::{ReplaceError, Replaced, put_anew};
use self::placing::{open_in_place, put_in_place};

/// How often a body that an error of the disk keeps from being read is waited for, before
/// it counts as lost.
const PATIENCE: u32 = 5;

/// What is wrong with the file, and how far mending it has come.
pub(super) struct Damage {
    problem: String,
    tries: u32,
    pause: Duration,
    pub(super) retry_at: Instant,
    /// What is in the file that was written, once it may have taken its place.
    placed: Option<Draft>,
}

impl Writing {
    /// Whether the file is sound, which a reader doubts. Looked at through a connection of
    /// its own, which has no page in memory yet.
    pub(super) fn check(&mut self, context: &Context) -> Result<(), Fault> {
        self.check_name(context)?;
        self.check_log(context)?;
        let options = &context.shared.options;
        let path = context.shared.path();
        let open = || connection::open_to_read(path, options);
        let opened = open_labelled(&*options.system, path, open)?;
        match quick_check(&opened.conn)? {
            answer if answer == "ok" => Ok(()),
            answer => Err(Fault::NotOurs(answer)),
        }
    }

    /// Nothing is committed any more until another file is there.
    pub(super) fn damaged(&mut self, context: &Context, problem: String, now: Instant) {
        if self.file.is_none() {
            // There is nothing to put in the place of what was in memory.
            let ops = self.backlog.len().max(1);
            return self.failed(context, ops, now, &Passing::Sqlite(lost_memory(problem)));
        }
        let shared = &context.shared;
        error!(
            path = %shared.path().display(), %problem,
            "the shape database is not what was written, writing it anew from memory"
        );
        shared.counters.rebuilding.store(1, Relaxed);
        let pause = FIRST_PAUSE;
        self.damage = Some(Damage { problem, tries: 0, pause, retry_at: now, placed: None });
    }

    /// Tries to put another file in place.
    pub(super) fn replace(&mut self, context: &mut Context, now: Instant) -> Result<(), Fault> {
        let patient = self.damage.as_ref().is_none_or(|damage| damage.tries < PATIENCE);
        let result = self.take_turn(context).and_then(|()| self.replace_in_turn(context, patient));
        context.locks.end();
        let (Some(damage), shared) = (&mut self.damage, &context.shared) else { return Ok(()) };
        match result {
            Ok(replaced) => {
                let problem = std::mem::take(&mut damage.problem);
                self.damage = None;
                self.failing = None;
                self.not_before = None;
                shared.counters.trouble.is_over();
                shared.counters.rebuilding.store(0, Relaxed);
                replaced.tell(shared, problem);
                Ok(())
            }
            Err(ReplaceError::Fault(Fault::Fenced)) => Err(Fault::Fenced),
            Err(error) => {
                damage.tries += 1;
                let pause = damage.pause;
                damage.pause = (pause * 2).min(LONGEST_PAUSE);
                damage.retry_at = now + pause;
                shared.counters.faults.fetch_add(1, Relaxed);
                let reason = error.to_string();
                shared.counters.trouble.note(shared.clock_ms(), reason.clone());
                warn!(%reason, retry_in = ?pause, "the shape database could not be written anew yet");
                let problem = damage.problem.clone();
                shared.emit(Event::RebuildFailed { problem, reason, retry_in: pause });
                Ok(())
            }
        }
    }

    /// Shuts others out. Where the lock files are gone, another instance may live in the
    /// folder that this one cannot be seen in: then the file is that one's.
    fn take_turn(&mut self, context: &mut Context) -> Result<(), ReplaceError> {
        let shared = Arc::clone(&context.shared);
        let system = &*shared.options.system;
        if !context.locks.are_lost(system)? {
            return match context.locks.try_turn() {
                true => Ok(()),
                false => Err(Fault::from(Passing::Turn).into()),
            };
        }
        // The folder may be gone with them.
        system.resolve(shared.path())?;
        let mut locks = Locks::open(system, shared.path())?;
        if !locks.try_turn() {
            return Err(Fault::from(Passing::Turn).into());
        }
        let presence = locks.announce(&says(&shared.options))?;
        context.locks = locks;
        match presence {
            Presence::Alone => Ok(()),
            Presence::Shared(holder) => {
                self.keep_memory(&shared, &name_of(&holder));
                Err(Fault::Fenced.into())
            }
        }
    }

    /// Another instance has begun a database of its own in the place of this one's, with
    /// nothing in it of what is in memory here: that is written beside it.
    fn keep_memory(&self, shared: &Shared, holder: &str) {
        let path = shared.path();
        let source = BodySource { conn: self.own.get(), patient: false };
        let kept = draft::write_draft(shared, path, self.label, &source).and_then(|draft| {
            let system = &*shared.options.system;
            let to = file::aside(system, path, "orphan")?;
            file::rename_database(system, &file::draft_of(path), &to)?;
            Ok((draft.shapes, to))
        });
        match kept {
            Ok((shapes, kept)) => error!(
                %holder, shapes, kept = %kept.display(),
                "another instance has begun a shape database in the place of this one's, which was removed"
            ),
            Err(error) => error!(
                %holder, reason = %error,
                "another instance has begun a shape database in the place of this one's, which was removed, and what is in memory could not be written beside it"
            ),
        }
    }

    fn replace_in_turn(
        &mut self,
        context: &mut Context,
        patient: bool,
    ) -> Result<Replaced, ReplaceError> {
        let shared = Arc::clone(&context.shared);
        let (system, path) = (&*shared.options.system, shared.path());
        // Of a try before this one, or of the writer that came after this one.
        let quarantined = file::finish_replacement(system, path)?;
        judge(context, &self.label)?;
        let (replaced, opened) = match self.adopt(&shared, quarantined) {
            Some(adopted) => adopted,
            None => self.put_anew(&shared, patient)?,
        };
        let Opened { conn, id, label } = opened;
        let file = OwnFile::at(system, path)?;
        if file.anchor.id() != id || label != self.label {
            return Err(Fault::from(Passing::Turn).into());
        }
        self.own.put(conn);
        self.file = Some(file);
        self.note_file(context);
        self.unsure = None;
        // It was synced as one that is in use.
        self.noted = true;
        shared.reads_from(id, label.identity);
        Ok(replaced)
    }

    /// The file that a try before this one has put in place, and could not go on with.
    fn adopt(
        &mut self,
        shared: &Shared,
        quarantined: Option<PathBuf>,
    ) -> Option<(Replaced, Opened)> {
        let draft = self.damage.as_mut()?.placed.take()?;
        let opened = open_in_place(shared).ok()?;
        let new = self.file.as_ref().is_none_or(|file| file.anchor.id() != opened.id);
        let replaced = Replaced { quarantined, shapes: draft.shapes, lost: draft.lost };
        (new && opened.label == self.label).then_some((replaced, opened))
    }

    /// Writes the file and puts it in place. From the moment at which that may have happened
    /// the next try goes on from there.
    fn put_anew(
        &mut self,
        shared: &Shared,
        patient: bool,
    ) -> Result<(Replaced, Opened), ReplaceError> {
        let system = &*shared.options.system;
        let salvaged = self.salvage(shared, patient)?;
        let source = BodySource { conn: self.own.get().or(salvaged.as_ref()), patient };
        let draft = draft::write_draft(shared, shared.path(), self.label, &source)?;
        drop(salvaged);
        file::remove_database(system, &salvage_of(shared.path()))?;
        if let Some(damage) = &mut self.damage {
            damage.placed = Some(draft.clone());
        }
        put_in_place(shared, draft)
    }

    /// A connection to the file this writer had, when it has none open: that file may be
    /// there, or have no name any more.
    fn salvage(
        &self,
        shared: &Shared,
        patient: bool,
    ) -> Result<Option<rusqlite::Connection>, ReplaceError> {
        let Some(file) = &self.file else { return Ok(None) };
        if self.own.get().is_some() {
            return Ok(None);
        }
        let (options, path) = (&shared.options, shared.path());
        let there = options.system.stat(path)?;
        let from = if there.is_some_and(|there| there.id == file.anchor.id()) {
            path.to_path_buf()
        } else {
            let copy = salvage_of(path);
            // None of them may have it open meanwhile.
            shared.readers.renew();
            match file.anchor.copy_to(&copy) {
                Ok(()) => copy,
                Err(error) if patient => return Err(error.into()),
                Err(error) => {
                    warn!(reason = %system(&error), "the shape database that was removed cannot be read");
                    return Ok(None);
                }
            }
        };
        match connection::open_to_read(&from, options) {
            Ok(conn) => {
                let _ = keep_log_on_close(&conn, true);
                Ok(Some(conn))
            }
            Err(error) if patient && !is_damage(&error) => Err(Fault::from(error).into()),
            // It has nothing to give.
            Err(_) => Ok(None),
        }
    }

    /// Another instance has become the writer: this one follows it.
    pub(super) fn fenced(&mut self, context: &mut Context) -> Turn {
        context.give_up(self.label.epoch, std::mem::take(&mut self.backlog));
        context.shared.counters.rebuilding.store(0, Relaxed);
        context.shared.counters.trouble.is_over();
        let conn = self.own.release();
        let following = Following::after_fencing(context, self.label, conn);
        Turn::Become(Role::Following(Box::new(following)))
    }
}

fn salvage_of(path: &Path) -> PathBuf {
    file::beside(path, ".salvage")
}

fn lost_memory(problem: String) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, Some(problem))
}
