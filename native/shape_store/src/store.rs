//! A store, as its callers see it.

mod at_once;
mod bodies;
mod changes;
pub(crate) mod cold_reads;
mod flags;
pub(crate) mod lease;
mod lookups;
mod meta;
pub(crate) mod readers;
mod statistics;
pub(crate) mod stored_bodies;
#[cfg(all(test, not(loom)))]
mod tests;
mod waiting;

use std::sync::{Arc, Weak};

pub use self::{
    bodies::{Found, Located, Place},
    changes::{NewShape, Request},
    meta::Coldest,
};
use crate::{
    Notify,
    error::OpenError,
    event::Events,
    file::import::Verify,
    options::{Location, Options},
    pool::{Next, Pool, Work},
    shared::{Scope, Shared},
    state::State,
    writer::{
        Machine,
        command::{Command, Reply},
    },
};

/// An open store. Cheap to clone; all clones are the same store.
///
/// No method touches the disk but [`Store::ask_reader`], which may open a connection, and
/// [`Store::list_pending`]. Dropping the last clone lets the writer commit what is
/// queued and end, without waiting for it.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    /// Tells the writer when the last clone is gone.
    last_handle: Arc<LastHandle>,
}

/// A store that somebody else keeps open.
#[derive(Clone)]
pub struct WeakStore(Weak<LastHandle>);

impl WeakStore {
    /// Whether anybody has it.
    pub fn is_there(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// The store, while anybody has it.
    pub fn upgrade(&self) -> Option<Store> {
        let last_handle = self.0.upgrade()?;
        Some(Store { shared: Arc::clone(&last_handle.0), last_handle })
    }
}

/// A writer whose turns are taken inside the scope of its store.
struct Scoped {
    machine: Machine,
    shared: Arc<Shared>,
}

impl Work for Scoped {
    fn turn(&mut self) -> Next {
        let mut next = Next::Over;
        (self.shared.scope)(&mut || next = self.machine.turn());
        next
    }
}

struct LastHandle(Arc<Shared>);

impl Drop for LastHandle {
    fn drop(&mut self) {
        self.0.enter(State::Closing);
        self.0.mail.send(Command::Close);
    }
}

impl Store {
    /// Opens a store. Returns at once: the file is opened by its writer, on the threads that
    /// all stores of the process share, and the first event tells how it went. Until then
    /// lookups find nothing and changes are refused.
    pub fn open(options: Options, events: Events, verify: Verify) -> Result<Self, OpenError> {
        Self::open_within(options, events, verify, |turn| turn())
    }

    /// [`Store::open`], with all that the store does on threads that stores share done inside
    /// `scope`: for a `tracing` subscriber of its own, say.
    pub fn open_within(
        options: Options,
        events: Events,
        verify: Verify,
        scope: impl Fn(&mut dyn FnMut()) + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        let (store, machine) = Self::assemble_within(options, events, verify, Box::new(scope))?;
        // The threads of the background are asked for by callers who must not do it themselves.
        Pool::of_background().start().map_err(OpenError::Thread)?;
        let shared = Arc::clone(&store.shared);
        let running = Pool::of_writers()
            .run(Box::new(Scoped { machine, shared }), |call| store.shared.mail.read_by(call));
        running.map_err(OpenError::Thread)?;
        Ok(store)
    }

    /// A store, and the writer that somebody has to run: nothing of the store goes on
    /// without it.
    pub fn assemble(
        options: Options,
        events: Events,
        verify: Verify,
    ) -> Result<(Self, Machine), OpenError> {
        Self::assemble_within(options, events, verify, Box::new(|work| work()))
    }

    fn assemble_within(
        mut options: Options,
        events: Events,
        verify: Verify,
        scope: Scope,
    ) -> Result<(Self, Machine), OpenError> {
        if options.external_checkpoint && options.exclusive {
            let reason = "without a write-ahead log there is nothing to leave to another process";
            return Err(OpenError::Options(reason));
        }
        if let Location::File(path) = &mut options.location {
            // Here, before the process goes to another folder.
            let absolute = options.system.absolute(path);
            *path = absolute.map_err(|source| OpenError::Io {
                what: "make absolute",
                path: path.clone(),
                source,
            })?;
        }
        let shared = Arc::new(Shared::new(options, events, scope));
        let machine = Machine::new(Arc::clone(&shared), verify);
        let last_handle = Arc::new(LastHandle(Arc::clone(&shared)));
        Ok((Self { shared, last_handle }, machine))
    }

    /// A reference that does not keep the store open.
    pub fn downgrade(&self) -> WeakStore {
        WeakStore(Arc::downgrade(&self.last_handle))
    }

    /// What the store is doing.
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// Makes this store the writer of the file, having read all that the other
    /// one wrote. At once for a store that is it already.
    pub fn promote(&self, notify: Notify<Result<(), String>>) {
        let reply = Reply::new(notify, || Err("the store is closed".into()));
        self.shared.mail.send(Command::Promote(reply));
    }

    /// Takes no more changes, commits what is queued, however long the disk makes
    /// it take, and closes. [`crate::Event::Closed`] tells when that is done.
    pub fn close(&self) {
        // At once, not when the writer comes to it: who asks from here on is told.
        self.shared.enter(State::Closing);
        self.shared.mail.send(Command::Close);
    }

    /// What does not succeed at present.
    pub fn trouble(&self) -> Option<crate::Trouble> {
        self.shared.counters.trouble.get()
    }
}
