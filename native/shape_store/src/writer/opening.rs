//! The beginning: the file is found, locked, made ready and read.

use std::{
    any::Any,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{LOCK_PAUSE, Role, context::Context, following::Following, writing::Writing};
use crate::{
    error::OpenError,
    event::Event,
    file::{Locks, Presence, connection, epoch::take_over_file, import::Verify, open},
    options::{Location, Options},
    shared::Shared,
    state::State,
};

mod alone;

use self::alone::open_alone;

/// How long to wait for the file that another instance has, and that is not there: it
/// writes it anew when it notices.
const MISSING_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Opening {
    verify: Verify,
    began: Instant,
    stage: Stage,
}

enum Stage {
    Start,
    /// Waiting for another store of this process to close.
    Claim(PathBuf),
    /// Waiting for another instance that opens the file or becomes its writer.
    Turn {
        path: PathBuf,
        claim: Box<dyn Any + Send>,
        locks: Locks,
        since: Instant,
    },
    /// Waiting for a file to follow.
    File {
        context: Box<Context>,
        since: Instant,
        holder: String,
    },
    Over,
}

pub(super) enum Progress {
    Wait(Instant),
    Opened(Box<Context>, Role, Event),
}

impl Opening {
    pub(super) fn new(shared: &Shared, verify: Verify) -> Self {
        Self { verify, began: shared.now(), stage: Stage::Start }
    }

    pub(super) fn step(
        &mut self,
        shared: &Arc<Shared>,
        now: Instant,
    ) -> Result<Progress, OpenError> {
        loop {
            if shared.state() != State::Opening {
                return Err(OpenError::Closed);
            }
            let stage = std::mem::replace(&mut self.stage, Stage::Over);
            let next = match stage {
                Stage::Start => match &shared.options.location {
                    Location::Memory => return open_memory(shared),
                    Location::File(path) => Ok(Stage::Claim(resolve(shared, path)?)),
                },
                Stage::Claim(path) => self.claim(shared, path, now)?,
                Stage::Turn { path, claim, mut locks, since } => match locks.try_turn() {
                    true => {
                        let opened = self.open_in_turn(shared, &path, claim, locks, now)?;
                        match opened {
                            Ok(progress) => return Ok(progress),
                            Err(stage) => Ok(stage),
                        }
                    }
                    false if now >= since + shared.options.presence_timeout => {
                        return Err(OpenError::Opening { path });
                    }
                    false => Err(Stage::Turn { path, claim, locks, since }),
                },
                Stage::File { mut context, since, holder } => {
                    match Following::begin(&mut context) {
                        Ok(following) => return Ok(follow(shared, context, following)),
                        // Not there, or between two.
                        Err(error) if now < since + MISSING_TIMEOUT => {
                            let _ = error;
                            Err(Stage::File { context, since, holder })
                        }
                        Err(error) => return Err(unfollowed(shared, error, holder)),
                    }
                }
                Stage::Over => return Err(OpenError::Closed),
            };
            match next {
                Ok(stage) => self.stage = stage,
                Err(waiting) => {
                    self.stage = waiting;
                    return Ok(Progress::Wait(now + LOCK_PAUSE));
                }
            }
        }
    }

    fn claim(
        &self,
        shared: &Arc<Shared>,
        path: PathBuf,
        now: Instant,
    ) -> Result<Result<Stage, Stage>, OpenError> {
        let system = &*shared.options.system;
        match system.claim(&path, Arc::clone(&shared.holder)) {
            Ok(claim) => {
                let locks = Locks::open(system, &path)?;
                Ok(Ok(Stage::Turn { path, claim, locks, since: now }))
            }
            Err(holder) => {
                let waited = now.saturating_duration_since(self.began);
                // Another stack that stays will not make way.
                let hopeless = !holder.is_leaving() && holder.name() != shared.holder.name();
                match hopeless || waited >= shared.options.lease_timeout {
                    true => Err(OpenError::InUse {
                        path,
                        holder: format!("stack {:?}", holder.name()),
                        waited_ms: waited.as_millis(),
                    }),
                    false => Ok(Err(Stage::Claim(path))),
                }
            }
        }
    }

    /// Opens the file while nobody else opens it or becomes its writer: as its writer when
    /// no other instance is there, else as a follower.
    fn open_in_turn(
        &mut self,
        shared: &Arc<Shared>,
        path: &Path,
        claim: Box<dyn Any + Send>,
        mut locks: Locks,
        now: Instant,
    ) -> Result<Result<Progress, Stage>, OpenError> {
        shared.is_at(path.to_path_buf());
        let options = &shared.options;
        let presence = locks.announce(&says(options))?;
        let mut context = Box::new(Context::new(Arc::clone(shared), locks, Some(claim)));
        match presence {
            Presence::Alone => {
                let (role, opened) = open_alone(&mut context, path, &mut self.verify)?;
                context.locks.end();
                Ok(Ok(Progress::Opened(context, role, opened)))
            }
            Presence::Shared(holder) => {
                open::may_follow(options, path)?;
                context.locks.end();
                check_mode(options, path, &holder)?;
                Ok(Err(Stage::File { context, since: now, holder }))
            }
        }
    }
}

fn resolve(shared: &Shared, path: &Path) -> Result<PathBuf, OpenError> {
    let failed = |source| OpenError::Io {
        what: "make or find the folder of",
        path: path.to_path_buf(),
        source,
    };
    shared.options.system.resolve(path).map_err(failed)
}

const EXCLUSIVE: &str = "in exclusive mode";
const SHARED: &str = "with a write-ahead log";

/// What an instance says of itself beside the file.
pub(super) fn says(options: &Options) -> String {
    let mode = if options.exclusive { EXCLUSIVE } else { SHARED };
    format!("{mode}, stack {:?}, process {}\n", options.stack, std::process::id())
}

fn check_mode(options: &Options, path: &Path, holder: &str) -> Result<(), OpenError> {
    let (ours, other) = match options.exclusive {
        true => (EXCLUSIVE, SHARED),
        false => (SHARED, EXCLUSIVE),
    };
    match holder.starts_with(other) {
        false => Ok(()),
        true => Err(OpenError::Mode {
            path: path.to_path_buf(),
            ours,
            theirs: other,
            holder: name_of(holder),
        }),
    }
}

fn unfollowed(shared: &Shared, error: crate::file::fault::Fault, holder: String) -> OpenError {
    let (path, holder) = (shared.path().into(), name_of(&holder));
    OpenError::Unfollowed { path, holder, reason: error.to_string() }
}

/// What to call the one that says this.
pub(super) fn name_of(says: &str) -> String {
    says.lines().next().unwrap_or_default().into()
}

fn follow(shared: &Shared, context: Box<Context>, following: Following) -> Progress {
    let opened = Event::Opened {
        shapes: shared.index.count(),
        standby: true,
        imported: None,
        quarantined: None,
    };
    Progress::Opened(context, Role::Following(Box::new(following)), opened)
}

fn open_memory(shared: &Arc<Shared>) -> Result<Progress, OpenError> {
    let options = &shared.options;
    let named = |source| OpenError::Sqlite { path: connection::MEMORY.into(), source };
    let conn = open::prepare_memory(options).map_err(named)?;
    let label = take_over_file(&conn, options, 0).map_err(named)?;
    let mut context = Box::new(Context::new(Arc::clone(shared), Locks::none(), None));
    let writing = Box::new(Writing::new(&mut context, conn, None, label));
    let opened = Event::Opened { shapes: 0, standby: false, imported: None, quarantined: None };
    Ok(Progress::Opened(context, Role::Writing(writing), opened))
}
