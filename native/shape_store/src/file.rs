//! The file and its neighbours: what names they have, whose the file is, and how one is
//! moved aside.

pub(crate) mod ages;
pub(crate) mod connection;
pub(crate) mod draft;
pub(crate) mod epoch;
pub(crate) mod fault;
pub(crate) mod follow;
pub(crate) mod handle_list;
pub(crate) mod import;
pub(crate) mod insert;
pub(crate) mod integrity;
mod label;
pub(crate) mod load;
mod locks;
mod log_check;
pub(crate) mod open;
pub(crate) mod row;
pub(crate) mod scan;
pub(crate) mod schema;

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

pub(crate) use self::{
    label::{Known, Label, Opened, Unopened, open_labelled},
    locks::{Locks, Presence},
    log_check::{Log, LogError},
};
use crate::{error::OpenError, system::System};

/// What SQLite keeps beside a database, and what moves with it. Shared memory does not: it
/// says where things are in a log, and is made anew.
const JOURNALS: [&str; 2] = ["-wal", "-journal"];
const SHARED_MEMORY: &str = "-shm";

/// `path` with `suffix` after its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The log of a database.
pub(crate) fn log_of(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

/// The shared memory of a database in write-ahead-log mode.
pub(crate) fn shared_memory_of(path: &Path) -> PathBuf {
    beside(path, SHARED_MEMORY)
}

/// Where a file is written that is to take the place of this one.
pub(crate) fn draft_of(path: &Path) -> PathBuf {
    beside(path, ".draft")
}

/// What a draft is called once it is whole and on the disk: from then on it is the
/// database, whatever else has the name. See [`finish_replacement`].
pub(crate) fn replacement_of(path: &Path) -> PathBuf {
    beside(path, ".replacement")
}

/// Moves a database that cannot be used out of the way, with its journals, and
/// says where it is now.
pub(crate) fn quarantine(system: &dyn System, path: &Path) -> Result<PathBuf, OpenError> {
    let to = aside(system, path, "corrupt")?;
    rename_database(system, path, &to)?;
    Ok(to)
}

/// A name beside `path` that nothing has: with what it is, and the time.
pub(crate) fn aside(system: &dyn System, path: &Path, what: &str) -> Result<PathBuf, OpenError> {
    let mut micros = system.since_epoch().as_micros();
    loop {
        let to = beside(path, &format!(".{what}-{micros}"));
        match system.stat(&to) {
            Ok(None) => return Ok(to),
            Ok(Some(_)) => micros += 1,
            Err(source) => return Err(OpenError::Io { what: "look at", path: to, source }),
        }
    }
}

/// Renames a database with its journals, which go first: as long as the database
/// has its old name, the renaming can be done again.
pub(crate) fn rename_database(
    system: &dyn System,
    from: &Path,
    to: &Path,
) -> Result<(), OpenError> {
    let failed = |source| OpenError::Io { what: "rename", path: from.to_path_buf(), source };
    system.remove(&shared_memory_of(from)).map_err(failed)?;
    for suffix in JOURNALS {
        let from = beside(from, suffix);
        if system.stat(&from).map_err(failed)?.is_some() {
            system.rename(&from, &beside(to, suffix)).map_err(failed)?;
        }
    }
    system.rename(from, to).map_err(failed)
}

/// Removes a database and its journals, as far as they are there.
pub(crate) fn remove_database(system: &dyn System, path: &Path) -> Result<(), OpenError> {
    let journals = JOURNALS.into_iter().chain([SHARED_MEMORY]);
    for file in journals.map(|suffix| beside(path, suffix)).chain([path.to_path_buf()]) {
        system.remove(&file).map_err(|source| OpenError::Io {
            what: "remove",
            path: file,
            source,
        })?;
    }
    Ok(())
}

/// Has the names beside a file survive a loss of power.
pub(crate) fn sync_names(system: &dyn System, path: &Path) -> Result<(), OpenError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    system.sync_folder(folder).map_err(|source| OpenError::Io {
        what: "sync the folder",
        path: folder.to_path_buf(),
        source,
    })
}

/// Begins to put a draft in the place of the database. The draft is whole and synced. When
/// this has returned, or a crash came after it, it is the database.
pub(crate) fn begin_replacement(system: &dyn System, path: &Path) -> Result<(), OpenError> {
    let (draft, replacement) = (draft_of(path), replacement_of(path));
    let renamed = system.rename(&draft, &replacement);
    renamed.map_err(|source| OpenError::Io { what: "rename", path: draft, source })?;
    sync_names(system, path)
}

/// Gives a replacement that was begun the name of the database, and says where what had
/// the name is now. Does nothing where none was begun. Whoever opens the file calls this
/// first, with the others shut out: until it is done the file at `path` is not the database.
///
/// In this order: a log that stood beside the new file would be taken for its own.
pub(crate) fn finish_replacement(
    system: &dyn System,
    path: &Path,
) -> Result<Option<PathBuf>, OpenError> {
    let replacement = replacement_of(path);
    let failed = |source| OpenError::Io { what: "replace", path: path.to_path_buf(), source };
    if system.stat(&replacement).map_err(failed)?.is_none() {
        return Ok(None);
    }
    let aside = aside(system, path, "corrupt")?;
    let there = system.stat(path).map_err(failed)?.is_some();
    if there {
        rename_database(system, path, &aside)?;
    }
    // They may be there without it, or shared memory that a follower made which opened the
    // file while it was renamed: the new one would be read by what that says of another log.
    remove_journals(system, path).map_err(failed)?;
    // The old names have to be gone from the disk before the new one is there.
    sync_names(system, path)?;
    system.rename(&replacement, path).map_err(failed)?;
    sync_names(system, path)?;
    Ok(there.then_some(aside))
}

fn remove_journals(system: &dyn System, path: &Path) -> io::Result<()> {
    let all = JOURNALS.into_iter().chain([SHARED_MEMORY]);
    { all }.try_for_each(|suffix| system.remove(&beside(path, suffix)))
}
