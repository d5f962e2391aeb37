//! The file that a writer has, known by more than its name: which file, whose, under which
//! epoch, how far it was written, and its log.

use std::{io, path::Path};

use tracing::debug;

use super::{context::Context, writing::Writing};
use crate::{
    file::{
        Label, Log, LogError, Unopened,
        connection::{open_to_read, open_to_write, prepare_to_write},
        fault::{Fault, Passing},
        open_labelled,
    },
    system::{Anchor, System},
};

/// The file that this writer writes.
pub(super) struct OwnFile {
    pub(super) anchor: Box<dyn Anchor>,
    /// How long it was.
    pub(super) len: u64,
    /// What its log was after the last commit.
    pub(super) log: Option<Log>,
    /// What was amiss with the log at the first look. It is kept because the next look may
    /// find shared memory that another process has made, and nothing wrong.
    amiss: Option<String>,
}

impl OwnFile {
    /// The file that is there now.
    pub(super) fn at(system: &dyn System, path: &Path) -> io::Result<Self> {
        Ok(Self::of(system.anchor(path)?))
    }

    pub(super) fn of(anchor: Box<dyn Anchor>) -> Self {
        Self { anchor, len: 0, log: None, amiss: None }
    }
}

impl Writing {
    /// Opens the connection, if it is closed, and makes sure that it leads to the file this
    /// writer left.
    pub(super) fn reopen(&mut self, context: &Context) -> Result<(), Fault> {
        if self.own.get().is_some() {
            return Ok(());
        }
        let shared = &context.shared;
        let (options, path) = (&shared.options, shared.path());
        let Some(file) = &mut self.file else {
            return Err(Fault::NotOurs("what was in memory is gone with its connection".into()));
        };
        if shared.readers.have_lost_memory()? {
            return Err(Fault::NotOurs("the shared memory of its log is gone".into()));
        }
        // Where somebody has kept its memory, SQLite believes what that says of the log.
        let kept = match &file.log {
            Some(log) => log.has_memory(&*options.system, path)?,
            None => false,
        };
        let opened = open_labelled(&*options.system, path, || open_to_write(path, options))?;
        self.label.check_writer(&opened.label)?;
        if opened.id != file.anchor.id() {
            return Err(Fault::NotOurs("another file is in its place".into()));
        }
        let maybe = self.unsure.as_ref().and_then(|written| written.position);
        if maybe != Some(opened.label.position) {
            self.label.check_position(&opened.label)?;
        }
        prepare_to_write(&opened.conn, options)?;
        if !kept {
            file.log = None;
        }
        self.own.put(opened.conn);
        self.check_log_after_others(context)
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
                judge(context, &self.label)?;
                Err(Fault::NotOurs("another file is in its place".into()))
            }
        }
    }

    /// Takes note of how long the file is, and of the log that the connection there is has:
    /// a file that is shorter with the first batch was cut, and another log is none of its
    /// own. What cannot be looked at now is looked at then.
    pub(super) fn note_file(&mut self, context: &Context) {
        self.note_length(context);
        let (looked, file) = (self.check_log(context), &mut self.file);
        match (looked, file) {
            (Err(Fault::NotOurs(problem)), Some(file)) => file.amiss = Some(problem),
            (Err(fault), _) => {
                debug!(reason = %fault, "the log of the shape database cannot be looked at yet");
            }
            (Ok(()), _) => {}
        }
    }

    /// Notes the file's length, whenever this writer may have made it longer.
    pub(super) fn note_length(&mut self, context: &Context) {
        if let Some(file) = &mut self.file
            && let Ok(Some(there)) = context.shared.options.system.stat(context.shared.path())
            && there.id == file.anchor.id()
        {
            file.len = there.len;
        }
    }

    /// Whether the log is the one that was written.
    pub(super) fn check_log(&mut self, context: &Context) -> Result<(), Fault> {
        let (Some(file), Some(conn)) = (&mut self.file, self.own.get()) else { return Ok(()) };
        let shared = &context.shared;
        if shared.options.exclusive {
            return Ok(());
        }
        if let Some(problem) = &file.amiss {
            return Err(Fault::NotOurs(problem.clone()));
        }
        let (system, path) = (&*shared.options.system, shared.path());
        match &file.log {
            Some(log) => log.check(system, path, conn)?,
            None => file.log = Log::look(system, path, conn)?,
        }
        Ok(())
    }

    /// After a commit: whether the log has what was in it before. Otherwise the commit is not
    /// known to be on the disk.
    pub(super) fn check_log_after(&mut self, context: &Context) -> Result<(), Fault> {
        let (Some(file), Some(conn)) = (&mut self.file, self.own.get()) else { return Ok(()) };
        let shared = &context.shared;
        if shared.options.exclusive {
            return Ok(());
        }
        let (system, path) = (&*shared.options.system, shared.path());
        let now = Log::look(system, path, conn)?;
        if let (Some(before), Some(now)) = (&file.log, &now) {
            before.check_before(now, system, path, conn)?;
        }
        file.log = now;
        Ok(())
    }

    /// After others may have committed for any length of time: whether the last frame that
    /// was seen is whole, and what was before it is there.
    pub(super) fn check_log_after_others(&mut self, context: &Context) -> Result<(), Fault> {
        if let Some(log) = self.file.as_ref().and_then(|file| file.log.as_ref()) {
            log.check_last_frame(&*context.shared.options.system, context.shared.path())?;
        }
        self.check_log_after(context)
    }
}

/// Whether another instance has become the writer: the file says so, or, where it cannot be
/// read or is none of ours, what that one told beside it.
pub(super) fn judge(context: &Context, label: &Label) -> Result<(), Fault> {
    let options = &context.shared.options;
    let path = context.shared.path();
    let there = open_labelled(&*options.system, path, || open_to_read(path, options));
    let epoch = match there {
        Ok(there) if there.label.identity == label.identity => Some(there.label.epoch),
        _ => context.locks.told_epoch(),
    };
    match epoch.is_some_and(|epoch| epoch > label.epoch) {
        true => Err(Fault::Fenced),
        false => Ok(()),
    }
}

impl From<Unopened> for Fault {
    fn from(unopened: Unopened) -> Self {
        match unopened {
            Unopened::Absent => Self::NotOurs("it is gone".into()),
            Unopened::Empty => Self::NotOurs("it is empty".into()),
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
