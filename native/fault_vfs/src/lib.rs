//! A SQLite VFS that misbehaves on request, for tests only.
//!
//! SQLite reaches the disk through a *VFS*. [`FaultVfs`] is a thin one over the platform's own:
//! each call SQLite makes is an *operation* of some [`Kind`] on a file of some [`Role`], and on
//! its way to the real file it passes three stations:
//!
//! 1. the **gate** (`gate.rs`) may *hold* it until a test releases it, *counts* it, and may fail
//!    it as the current [`Plan`] says;
//! 2. the **room** (`room.rs`) refuses what would not fit a pretended *capacity*;
//! 3. the **log** (`log.rs`) notes what really happened, in order: writes, truncates, syncs,
//!    creations and deletions.
//!
//! From the log, [`Images`] builds what a disk may hold when power is lost at any [`Point`]: all
//! that was synced, and of the rest nothing, everything, or a torn part ([`Unsynced`]). An image
//! is plain files, to be opened with the normal VFS.
//!
//! ```
//! use fault_vfs::{FaultVfs, Fault, Kinds, Plan, Unsynced};
//! use rusqlite::{Connection, OpenFlags};
//!
//! let vfs = FaultVfs::unique();
//! vfs.record();
//! let path = std::env::temp_dir().join(format!("{}.db", vfs.name()));
//! # let _ = std::fs::remove_file(&path);
//! let db = Connection::open_with_flags_and_vfs(&path, OpenFlags::default(), vfs.name()).unwrap();
//! db.execute_batch("create table t(x)").unwrap();
//!
//! vfs.fail(Plan::nth(1, Fault::IoErr).kinds(Kinds::SYNC).forever());
//! assert!(db.execute("insert into t values (1)", ()).is_err());
//! vfs.heal();
//! db.execute("insert into t values (1)", ()).unwrap();
//!
//! let images = vfs.images();
//! for point in images.edge_points() {
//!     let _files = images.image(point, Unsynced::Torn(7));
//! }
//! # drop(db);
//! # std::fs::remove_file(&path).unwrap();
//! ```
//!
//! What a test must know:
//! - Memory-mapped I/O is off on these files: a mapped write would pass by all three stations.
//! - The device claims no more than safe overwrite (`SQLITE_IOCAP_POWERSAFE_OVERWRITE`), which
//!   is what torn images keep to: a lost sector never damages its neighbours.
//! - `-shm` is shared memory, not data: never recorded, never in an image, not counted as room.
//! - SQLite has no rename. A file renamed behind its back is noticed when its old name is next
//!   opened: the new content is then taken as durable.
//! - Only files opened by name are recorded; temporary ones are counted and may fail.

mod gate;
mod images;
mod log;
mod operation;
mod plan;
mod room;
mod shim;
mod torn;
mod vfs;

pub use gate::Hold;
pub use images::{Images, Unsynced};
pub use log::Point;
pub use operation::{Kind, Kinds, Operations, Role, Roles};
pub use plan::{Count, Fault, Plan};
pub use vfs::FaultVfs;
