//! What an operator does with a file: looks into it, checks, copies, mends, moves it, and
//! reads what is left of a damaged one.
//!
//! These are functions on paths, beside the store. None writes to a file that it reads: what
//! replaces another is made beside it, whole and synced, and takes its name by the same steps
//! as a store's own replacement, so that a crash at any point leaves one of the two. What had
//! the name is kept.
//!
//! A file is read in one of two ways ([`Access`]): alone, with everybody else kept out for as
//! long as it takes; or beside the store that has it, by SQLite, which keeps the two apart.
//! No database is ever opened as an ordinary file while a store of this process may have it:
//! to close it would drop SQLite's locks.

mod access;
mod carve;
mod check;
mod copy;
mod export;
mod inspect;
mod reader;
mod room;
mod row;
mod rows;
mod salvage;
mod source;

use std::path::{Path, PathBuf};

use thiserror::Error;

#[cfg(fuzzing)]
pub use self::carve::carve_pages;
pub use self::{
    access::{Access, holder},
    check::{Checked, Problem, check},
    copy::{Copied, Restored, backup, relocate, restore},
    export::{Exceptions, Exported, export},
    inspect::{Label, Summary},
    reader::Reader,
    room::{Room, room},
    row::{Condition, Row},
    salvage::{Salvaged, repair, salvage},
};
use crate::{
    error::OpenError,
    error_text::{system, worded, worded_opening},
};

/// Hears how far something is: what is done, of how much.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Why an operator's request came to nothing. Nothing was changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AdminError {
    /// There is no file.
    #[error("{} is not there", path.display())]
    Absent {
        /// The path.
        path: PathBuf,
    },
    /// Something is where a file is to be made.
    #[error("{} is there already: name another, or move it away", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// A store has the file.
    #[error(
        "{} is in use by {holder}: ask that instance itself, by its stack id, or stop it first",
        path.display()
    )]
    InUse {
        /// The path.
        path: PathBuf,
        /// Who has it.
        holder: String,
    },
    /// An instance is opening the file, or something else is done with it.
    #[error("{} is being opened or worked on by another instance: try again", path.display())]
    Busy {
        /// The path.
        path: PathBuf,
    },
    /// It is no shape database, or not one that can be used for this.
    #[error("{} cannot be used: {reason}", path.display())]
    Unusable {
        /// The path.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It is a shape database, and damaged.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file system refused.
    #[error("cannot {what} {}: {}", path.display(), system(source))]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// SQLite refused.
    #[error("SQLite refused {}: {}", path.display(), worded_opening(source, path))]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// SQLite's answer.
        source: rusqlite::Error,
    },
    /// A step of a replacement was refused.
    #[error(transparent)]
    Replace(#[from] OpenError),
}

impl AdminError {
    /// A word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Absent { .. } => "absent",
            Self::Exists { .. } => "exists",
            Self::InUse { .. } => "in_use",
            Self::Busy { .. } => "busy",
            Self::Unusable { .. } => "unusable",
            Self::Damaged { .. } => "damaged",
            Self::Io { .. } | Self::Replace(_) => "file_system",
            Self::Sqlite { .. } => "sqlite",
        }
    }

    fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what, path: path.to_path_buf(), source }
    }

    fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> Self {
        move |source| match crate::file::fault::is_damage(&source) {
            true => Self::Damaged { path: path.to_path_buf(), reason: worded(&source).to_string() },
            false => Self::Sqlite { path: path.to_path_buf(), source },
        }
    }

    fn unusable(path: &Path, reason: impl Into<String>) -> Self {
        Self::Unusable { path: path.to_path_buf(), reason: reason.into() }
    }
}
