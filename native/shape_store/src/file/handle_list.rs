//! Lists of handles beside the database, for whoever has to look after them: more than a
//! line of a log holds.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use crate::{entry::Handle, error::OpenError, file, system::System};

/// Writes a line for each, of what became of it and its handle, into a file beside the
/// database that is named for `what` and the time.
pub(crate) fn write_list(
    system: &dyn System,
    database: &Path,
    what: &str,
    lines: impl Iterator<Item = (&'static str, Handle)>,
) -> Result<PathBuf, OpenError> {
    let path = file::aside(system, database, what)?;
    let mut text = String::new();
    for (operation, handle) in lines {
        // Handles are text; of one that is not, the bytes that are none are escaped, and so is
        // what would end the line.
        let _ = writeln!(text, "{operation} {}", handle.escape_ascii());
    }
    match system.append(&path, text.as_bytes()) {
        Ok(()) => Ok(path),
        Err(source) => Err(OpenError::Io { what: "write", path, source }),
    }
}
