//! Room on a disk.

use std::path::Path;

use super::AdminError;

/// The room on the file system of a path, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// All of it.
    pub total: u64,
    /// What this process may still use.
    pub available: u64,
}

/// Asks the system for the room at a path that is there.
pub fn room(path: &Path) -> Result<Room, AdminError> {
    let found = rustix::fs::statvfs(path)
        .map_err(|error| AdminError::io("ask for the room at", path)(error.into()))?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Room { total: bytes(found.f_blocks), available: bytes(found.f_bavail) })
}
