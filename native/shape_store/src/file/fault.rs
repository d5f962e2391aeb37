//! What an error of SQLite's says: whose fault it is, and so what is to be done.

use rusqlite::{Error, ErrorCode, ffi};
use thiserror::Error as ErrorMessage;

use crate::{
    error::ReadError,
    error_text::{system, worded},
};

/// Why a batch, or another look at the file, came to nothing.
#[derive(Debug, ErrorMessage)]
pub(crate) enum Fault {
    /// The disk, or somebody's lock: worth another try.
    #[error("{0}")]
    Transient(#[from] Passing),
    /// What has the file's name is not the file that this store wrote, or is damaged.
    #[error("{0}")]
    NotOurs(String),
    /// Another instance writes the file.
    #[error("another instance became the writer of the file")]
    Fenced,
}

/// An error that may pass.
#[derive(Debug, ErrorMessage)]
pub(crate) enum Passing {
    #[error("{}", worded(.0))]
    Sqlite(rusqlite::Error),
    #[error("{}", system(.0))]
    Io(#[from] std::io::Error),
    #[error("another instance opens the file, or becomes its writer")]
    Turn,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match is_damage(&error) {
            true => Self::NotOurs(worded(&error).to_string()),
            false => Self::Transient(Passing::Sqlite(error)),
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Transient(error.into())
    }
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Transient(Passing::Sqlite(error)) => Self::Sqlite(error),
            other => Self::NotOurs(other.to_string()),
        }
    }
}

/// Whether an error says that the file is not what SQLite wrote.
fn is_corruption(error: &Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Whether an error may come of a file that is damaged, cut off or another: corruption that
/// SQLite saw, an answer of the wrong shape from a table of ours, or a table that is gone.
pub(crate) fn is_damage(error: &Error) -> bool {
    is_corruption(error)
        || is_schema(error)
        || matches!(
            error,
            Error::FromSqlConversionFailure(..)
                | Error::InvalidColumnType(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::QueryReturnedNoRows
        )
        || matches!(
            error,
            Error::SqliteFailure(failure, _)
                if failure.extended_code == ffi::SQLITE_IOERR_SHORT_READ
                    || failure.extended_code == ffi::SQLITE_READONLY_DBMOVED
        )
}

/// Whether an error of a statement that was not ours may come of the file, and not of the
/// statement.
pub(crate) fn is_trouble(error: &Error) -> bool {
    is_corruption(error) || error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure)
}

/// Whether a statement of ours does not fit the tables there are: SQLite has no code of its
/// own for that.
fn is_schema(error: &Error) -> bool {
    match error {
        Error::SqliteFailure(failure, _) => failure.code == ErrorCode::Unknown,
        Error::SqlInputError { error, .. } => error.code == ErrorCode::Unknown,
        _ => false,
    }
}

/// Whether SQLite refused one statement for itself, which says nothing about the rest.
pub(crate) fn is_refusal(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch)
    )
}

/// Whether somebody else has a lock.
pub(crate) fn is_busy(error: &Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}
