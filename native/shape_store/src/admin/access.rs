//! Who has a file, and how it is kept from them meanwhile.

use std::{
    any::Any,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::AdminError;
use crate::{
    file::{Locks, Presence, beside},
    system::{Holder, System},
};

/// How a file is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// By nobody else meanwhile: an error if a store has it.
    Alone,
    /// Beside the store that has it.
    Live,
}

/// A batch has the turn for milliseconds; who has it longer opens the file.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(5);

/// A file that no store has, and none gets while this lives.
pub(crate) struct Held {
    _claim: Box<dyn Any + Send>,
    _locks: Option<Locks>,
}

impl Held {
    /// Takes a file to look at it: makes no lock file where there is none, since then there
    /// is no instance either.
    pub(crate) fn to_read(system: &dyn System, path: &Path) -> Result<Self, AdminError> {
        let there = system.stat(&beside(path, ".lock")).map_err(AdminError::io("look at", path))?;
        Self::take(system, path, there.is_some())
    }

    /// Takes a file, or the place of one, to put another there.
    pub(crate) fn to_replace(system: &dyn System, path: &Path) -> Result<Self, AdminError> {
        Self::take(system, path, true)
    }

    fn take(system: &dyn System, path: &Path, lock: bool) -> Result<Self, AdminError> {
        let in_use = |holder| AdminError::InUse { path: path.to_path_buf(), holder };
        let me = Arc::new(Holder::new("an operator's request".into()));
        let claim = system.claim(path, me).map_err(|holder| in_use(name_here(&holder)))?;
        let locks = match lock {
            true => Some(take_turn(system, path)?),
            false => None,
        };
        // In turn: nobody announces itself after this look.
        match locks.as_ref().map(Locks::look).transpose() {
            Ok(Some(Presence::Shared(says))) => Err(in_use(name_there(&says))),
            Ok(_) => Ok(Self { _claim: claim, _locks: locks }),
            Err(source) => {
                Err(AdminError::Io { what: "look at the lock of", path: path.into(), source })
            }
        }
    }
}

fn take_turn(system: &dyn System, path: &Path) -> Result<Locks, AdminError> {
    let mut locks = Locks::open(system, path)?;
    let until = Instant::now() + PATIENCE;
    while !locks.try_turn() {
        if Instant::now() >= until {
            // Who keeps the turn for that long has announced itself, or is about to.
            return Err(match locks.look() {
                Ok(Presence::Shared(says)) => {
                    AdminError::InUse { path: path.to_path_buf(), holder: name_there(&says) }
                }
                _ => AdminError::Busy { path: path.to_path_buf() },
            });
        }
        thread::sleep(PAUSE);
    }
    Ok(locks)
}

fn name_here(holder: &Holder) -> String {
    match holder.name() {
        "" => "a store of this VM".into(),
        name if name.starts_with("an operator") => name.into(),
        name => format!("stack {name:?} of this VM"),
    }
}

/// What an instance says of itself begins with its mode.
fn name_there(says: &str) -> String {
    let line = says.lines().next().unwrap_or_default();
    let name = line.split_once(", ").map_or(line, |(_mode, name)| name);
    if name.is_empty() { "another instance".into() } else { name.into() }
}

/// Who has a file, in this process or another; none when nobody has.
pub fn holder(system: &dyn System, path: &Path) -> Result<Option<String>, AdminError> {
    let path = super::source::absolute(system, path)?;
    match Held::to_read(system, &path) {
        Ok(_) => Ok(None),
        Err(AdminError::InUse { holder, .. }) => Ok(Some(holder)),
        Err(AdminError::Busy { .. }) => Ok(Some("an instance that is opening it".into())),
        Err(error) => Err(error),
    }
}
