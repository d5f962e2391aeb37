//! What may be done by hand, and how often it is.

use crate::chance::Chance;

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    DeleteDatabase,
    DeleteAll,
    DeleteFolder,
    CutDatabase,
    CutLog,
    FlipByte,
    FlipBody,
    Copy,
    PutBack,
    PutBackWithLog,
    PutBackInPlace,
    PutEmpty,
    PutJunk,
    PutForeign,
    DeleteLog,
    DeleteShared,
    DeleteLocks,
}

/// What it means for the file.
pub(super) enum Effect {
    /// It does no harm.
    None,
    /// The file is another, or damaged, which may not be seen at once.
    Replaced { damaged: bool, noticed: bool },
}

impl Deed {
    /// All of them, how likely each is, and how it is counted. Some need what is not there
    /// often.
    pub(super) const ALL: [(Self, usize, &'static str); 17] = [
        (Self::DeleteDatabase, 2, "database deleted"),
        (Self::DeleteAll, 2, "database and log deleted"),
        (Self::DeleteFolder, 2, "folder deleted"),
        (Self::CutDatabase, 2, "database cut"),
        (Self::CutLog, 5, "log cut"),
        (Self::FlipByte, 2, "bytes flipped"),
        (Self::FlipBody, 44, "bodies damaged"),
        (Self::Copy, 6, "copies made"),
        (Self::PutBack, 8, "copies put back"),
        (Self::PutBackWithLog, 8, "copies with log put back"),
        (Self::PutBackInPlace, 8, "copies put back in place"),
        (Self::PutEmpty, 2, "empty file put there"),
        (Self::PutJunk, 2, "junk put there"),
        (Self::PutForeign, 2, "another's file put there"),
        (Self::DeleteLog, 4, "log deleted"),
        (Self::DeleteShared, 8, "shared memory deleted"),
        (Self::DeleteLocks, 2, "lock files deleted"),
    ];

    pub(super) fn draw(chance: &mut Chance) -> Self {
        let weights = Self::ALL.map(|(deed, weight, _)| (deed, weight));
        chance.weighed(&weights).unwrap_or(Self::Copy)
    }

    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(deed, ..)| *deed == self).map_or("", |(.., name)| name)
    }
}
