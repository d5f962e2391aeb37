//! What SQLite asks of a VFS: the kinds of operation, the roles of files, and their counts.

use rusqlite::ffi;
use std::{collections::BTreeMap, ffi::c_int, fmt, ops::BitOr};

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Opening or creating a file.
    Open,
    /// Reading from a file.
    Read,
    /// Writing to a file.
    Write,
    /// Syncing a file, at `NORMAL` or `FULL` alike.
    Sync,
    /// Cutting a file.
    Truncate,
    /// Deleting a file.
    Delete,
    /// Taking a lock on a file or on a slot of its `-shm`; releasing one is never counted.
    Lock,
    /// Mapping a region of `-shm`.
    Map,
}

/// A set of [`Kind`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    /// No kind.
    pub const NONE: Self = Self(0);
    /// [`Kind::Open`].
    pub const OPEN: Self = Self::only(Kind::Open);
    /// [`Kind::Read`].
    pub const READ: Self = Self::only(Kind::Read);
    /// [`Kind::Write`].
    pub const WRITE: Self = Self::only(Kind::Write);
    /// [`Kind::Sync`].
    pub const SYNC: Self = Self::only(Kind::Sync);
    /// [`Kind::Truncate`].
    pub const TRUNCATE: Self = Self::only(Kind::Truncate);
    /// [`Kind::Delete`].
    pub const DELETE: Self = Self::only(Kind::Delete);
    /// [`Kind::Lock`].
    pub const LOCK: Self = Self::only(Kind::Lock);
    /// [`Kind::Map`].
    pub const MAP: Self = Self::only(Kind::Map);
    /// What changes the disk or makes it possible: open, write, sync, truncate and delete.
    pub const CHANGING: Self =
        Self(Self::OPEN.0 | Self::WRITE.0 | Self::SYNC.0 | Self::TRUNCATE.0 | Self::DELETE.0);
    /// Every kind.
    pub const ALL: Self = Self(u8::MAX);

    const fn only(kind: Kind) -> Self {
        Self(1 << kind as u8)
    }

    /// Whether `kind` is in the set.
    pub const fn contains(self, kind: Kind) -> bool {
        self.0 & Self::only(kind).0 != 0
    }
}

impl From<Kind> for Kinds {
    fn from(kind: Kind) -> Self {
        Self::only(kind)
    }
}

impl BitOr for Kinds {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a file is to SQLite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The database.
    Main,
    /// Its `-wal`.
    Wal,
    /// Its `-journal`, or a super-journal.
    Journal,
    /// Its `-shm`.
    Shm,
    /// A temporary file: sorter, statement journal, temporary database.
    Temp,
}

impl Role {
    /// The role that SQLite states in the flags of an open.
    pub(crate) fn of_open(flags: c_int) -> Self {
        if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 {
            Self::Main
        } else if flags & ffi::SQLITE_OPEN_WAL != 0 {
            Self::Wal
        } else if flags & (ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL) != 0 {
            Self::Journal
        } else {
            Self::Temp
        }
    }

    /// The role that a file's name tells, for calls that state none.
    pub(crate) fn of_name(name: &str) -> Self {
        if name.ends_with("-wal") {
            Self::Wal
        } else if name.ends_with("-journal") || name.contains("-mj") {
            Self::Journal
        } else if name.ends_with("-shm") {
            Self::Shm
        } else {
            Self::Main
        }
    }

    /// Whether a file of this role outlives the connection, and so is recorded and takes room.
    pub(crate) fn lasts(self) -> bool {
        matches!(self, Self::Main | Self::Wal | Self::Journal)
    }
}

/// A set of [`Role`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// [`Role::Main`].
    pub const MAIN: Self = Self::only(Role::Main);
    /// [`Role::Wal`].
    pub const WAL: Self = Self::only(Role::Wal);
    /// [`Role::Journal`].
    pub const JOURNAL: Self = Self::only(Role::Journal);
    /// [`Role::Shm`].
    pub const SHM: Self = Self::only(Role::Shm);
    /// [`Role::Temp`].
    pub const TEMP: Self = Self::only(Role::Temp);
    /// Every role.
    pub const ALL: Self = Self(u8::MAX);

    const fn only(role: Role) -> Self {
        Self(1 << role as u8)
    }

    /// Whether `role` is in the set.
    pub const fn contains(self, role: Role) -> bool {
        self.0 & Self::only(role).0 != 0
    }
}

impl From<Role> for Roles {
    fn from(role: Role) -> Self {
        Self::only(role)
    }
}

impl BitOr for Roles {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// How many operations there were, by kind and role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operations(BTreeMap<(Kind, Role), u64>);

impl Operations {
    /// All of these kinds on files of these roles.
    pub fn count(&self, kinds: Kinds, roles: Roles) -> u64 {
        let counted =
            |&(&(kind, role), _): &(&(Kind, Role), _)| kinds.contains(kind) && roles.contains(role);
        self.0.iter().filter(counted).map(|(_, n)| n).sum()
    }

    /// All of these kinds on any file.
    pub fn of(&self, kinds: Kinds) -> u64 {
        self.count(kinds, Roles::ALL)
    }

    /// Every kind on any file.
    pub fn total(&self) -> u64 {
        self.of(Kinds::ALL)
    }

    pub(crate) fn add(&mut self, kind: Kind, role: Role) {
        *self.0.entry((kind, role)).or_default() += 1;
    }
}

impl fmt::Display for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, ((kind, role), n)) in self.0.iter().enumerate() {
            write!(f, "{}{kind:?}/{role:?}={n}", if i == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}
