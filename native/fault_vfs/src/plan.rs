//! Which operations fail, for how long, and how.

use crate::operation::{Kind, Kinds, Role, Roles};
use rusqlite::ffi;
use std::ffi::c_int;

/// Which operations fail and how; see [`FaultVfs::fail`](crate::FaultVfs::fail).
///
/// Only operations of these `kinds` on files of these `roles` are counted, from the moment the
/// plan is set; number `from` of them (the first is 1) fails, and `count` says how many after.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The first operation to fail, counted from 1.
    pub from: u64,
    /// How many fail from there on.
    pub count: Count,
    /// The kinds that count.
    pub kinds: Kinds,
    /// The roles that count.
    pub roles: Roles,
    /// How they fail.
    pub fault: Fault,
}

impl Plan {
    /// Fails the `from`th operation that changes the disk ([`Kinds::CHANGING`]), once; for
    /// [`Fault::Busy`], the `from`th lock.
    pub const fn nth(from: u64, fault: Fault) -> Self {
        let kinds = match fault {
            Fault::Busy => Kinds::LOCK,
            _ => Kinds::CHANGING,
        };
        Self { from, count: Count::Once, kinds, roles: Roles::ALL, fault }
    }

    /// The same for these kinds.
    pub const fn kinds(self, kinds: Kinds) -> Self {
        Self { kinds, ..self }
    }

    /// The same for files of these roles.
    pub const fn roles(self, roles: Roles) -> Self {
        Self { roles, ..self }
    }

    /// The same for this many operations in a row.
    pub const fn times(self, n: u64) -> Self {
        Self { count: Count::Times(n), ..self }
    }

    /// The same until healed.
    pub const fn forever(self) -> Self {
        Self { count: Count::Forever, ..self }
    }

    pub(crate) const fn covers(&self, kind: Kind, role: Role) -> bool {
        self.kinds.contains(kind) && self.roles.contains(role)
    }

    /// Whether the `nth` operation covered is one that fails.
    pub(crate) const fn hits(&self, nth: u64) -> bool {
        nth >= self.from
            && match self.count {
                Count::Once => nth == self.from,
                Count::Times(n) => nth - self.from < n,
                Count::Forever => true,
            }
    }
}

/// How many operations fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// One.
    Once,
    /// So many in a row.
    Times(u64),
    /// All, until healed.
    Forever,
}

/// How an operation fails. But for [`Fault::ShortWrite`], one that fails does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The device reports an error: `SQLITE_IOERR_…` of the operation, `SQLITE_CANTOPEN` for an
    /// open.
    IoErr,
    /// No space: `SQLITE_FULL` for a write, else what the unix VFS makes of `ENOSPC`, which is
    /// the same as [`Fault::IoErr`].
    Full,
    /// The file system went read-only: `SQLITE_READONLY` for a write, `SQLITE_READONLY_DIRECTORY`
    /// when a journal or log is opened; reads and locks go on; else as [`Fault::IoErr`].
    ReadOnly,
    /// Somebody has the lock: `SQLITE_BUSY` for a lock, else as [`Fault::IoErr`].
    ///
    /// Only locks, because SQLite knows it from nothing else: told it by a sync, a checkpoint
    /// takes it for a reader in its way and reports success, and a closing connection then
    /// deletes the log with commits in it. And a deletion that fails otherwise than by
    /// `SQLITE_IOERR` leaves a journal that SQLite believes gone and later rolls back.
    ///
    /// While a lock of `-shm` ([`Role::Shm`]) stays busy, SQLite itself waits some 10 s before
    /// it gives up, whatever the busy timeout; [`Plan::roles`] can leave those out.
    Busy,
    /// A write does its first half and reports `SQLITE_IOERR_WRITE`; else as [`Fault::IoErr`].
    /// (A short write that reports `SQLITE_FULL` is what a capacity gives.)
    ShortWrite,
}

impl Fault {
    /// All of them, for a test's matrix.
    pub const ALL: [Self; 5] =
        [Self::IoErr, Self::Full, Self::ReadOnly, Self::Busy, Self::ShortWrite];

    /// What SQLite is told.
    pub(crate) fn code(self, kind: Kind, role: Role) -> c_int {
        match (self, kind) {
            (Self::Busy, Kind::Lock) => ffi::SQLITE_BUSY,
            (Self::ReadOnly, Kind::Write) => ffi::SQLITE_READONLY,
            (Self::ReadOnly, Kind::Open) if matches!(role, Role::Wal | Role::Journal) => {
                ffi::SQLITE_READONLY_DIRECTORY
            }
            (_, Kind::Open) => ffi::SQLITE_CANTOPEN,
            (_, Kind::Read) => ffi::SQLITE_IOERR_READ,
            (Self::Full, Kind::Write) => ffi::SQLITE_FULL,
            (Self::Full, Kind::Map) => ffi::SQLITE_IOERR_SHMSIZE,
            (_, Kind::Write) => ffi::SQLITE_IOERR_WRITE,
            (_, Kind::Sync) => ffi::SQLITE_IOERR_FSYNC,
            (_, Kind::Truncate) => ffi::SQLITE_IOERR_TRUNCATE,
            (_, Kind::Delete) => ffi::SQLITE_IOERR_DELETE,
            (_, Kind::Lock) if role == Role::Shm => ffi::SQLITE_IOERR_SHMLOCK,
            (_, Kind::Lock) => ffi::SQLITE_IOERR_LOCK,
            (_, Kind::Map) => ffi::SQLITE_IOERR_SHMMAP,
        }
    }
}
