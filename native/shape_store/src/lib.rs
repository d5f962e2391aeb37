//! The metadata of shapes: an index in memory that is the truth, and a copy in
//! SQLite that is a moment behind.
//!
//! A [`Store`] holds an *entry* for each shape, found by handle, by digest and by
//! table. Callers change the index and put the same *change* into a *queue* under
//! one short lock, so the order of the queue is the order of the index. One
//! *writer* takes what is queued, commits it in *batches*, and publishes
//! the *durable number*: the highest number of a change such that it and all
//! before it are committed. Whoever needs something to be on disk waits for a
//! number.
//!
//! A shape's *body* is in memory until its row is committed, afterwards in a
//! bounded cache, and else read back by row. Nothing else is ever decided by
//! reading SQLite, so there is no moment at which memory and file can disagree
//! in an answer.
//!
//! | where | what |
//! |---|---|
//! | `store.rs`, `store/` | the public face: changes, lookups, lists, waits, borrowed connections |
//! | `index.rs`, `index/`, `entry.rs` | the truth: which shapes there are, when each was read, the host's flags |
//! | `queue.rs`, `queue/` | changes on their way to SQLite, who waits for room or for a number |
//! | `cache.rs`, `cache/` | bodies in memory |
//! | `writer.rs`, `writer/` | the writer: its roles, its transaction, its file replaced |
//! | `file.rs`, `file/` | the database: opened, checked, read, taken over from another schema |
//! | `pool.rs`, `pool/` | the threads that run the writers of all stores |
//! | `shared.rs` | what callers and the writer share |
//! | `system.rs`, `system/` | the operating system, which a simulator stands in for |
//! | `admin.rs`, `admin/` | what an operator does with a file |

pub mod admin;
mod cache;
mod clock;
mod entry;
mod error;
mod error_text;
mod event;
mod file;
#[cfg(fuzzing)]
pub mod fuzzing;
mod index;
#[cfg(all(test, loom))]
mod loom_tests;
mod options;
mod pool;
mod queue;
mod shared;
mod state;
mod statistics;
mod store;
mod sync;
mod system;
mod trouble;
mod writer;

pub use cache::BodyKey;
pub use cache::body::{Body, Dictionary};
pub use clock::HostClock;
pub use entry::{
    Brief, Digest, Entry, Handle, INLINE_HANDLE, INLINE_OIDS, MAX_HANDLE, MAX_OIDS, Meta, Oid,
    Oids, RowId, Snapshot,
};
pub use error::{ChangeError, NotWritable, OpenError, ReadError};
pub use error_text::{Worded, worded};
pub use event::{Event, Events};
pub use file::import::{Imported, Unverified, Verify};
pub use file::schema::{SCHEMA_VERSION, STATEMENTS};
pub use options::{Location, Options, Source, SourceSchema, Synchronous};
pub use pool::Next;
pub use queue::durable::{Outcome, WaitId, Waiting};
pub use queue::ticket::Ticket;
pub use queue::{Operation, QueueSize, Seq};
pub use state::State;
pub use statistics::Statistics;
pub use store::cold_reads::Asker;
pub use store::lease::{GrantError, Granted, Lease, WRITER_SLOT};
pub use store::{Coldest, Found, Located, NewShape, Place, Request, Store, WeakStore};
pub use system::{Anchor, FileId, Holder, LockFile, Native, Stat, System};
pub use trouble::Trouble;
pub use writer::Machine;
pub use writer::command::ReadBodies;

/// Tells somebody something once. Called from any thread, with no lock held that
/// a caller can see; it must not block.
pub type Notify<T> = Box<dyn FnOnce(T) + Send>;
