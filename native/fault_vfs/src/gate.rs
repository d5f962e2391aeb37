//! The gate every operation passes: held, counted, failed.

use crate::{
    operation::{Kind, Kinds, Operations, Role},
    plan::{Fault, Plan},
};
use parking_lot::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// Its lock is never held over a call to the real VFS, so a test can always heal and release.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    /// Signalled when an operation is blocked; pairs with [`Gate::wait_until_held`].
    arrived: Condvar,
    /// Signalled when the held ones may go; pairs with [`Gate::enter`].
    released: Condvar,
}

#[derive(Default)]
struct State {
    operations: Operations,
    plan: Option<Armed>,
    injected: u64,
    held: Option<Kinds>,
    /// Counts releases: what was blocked before one goes, even if a new hold follows at once.
    releases: u64,
    blocked: usize,
}

struct Armed {
    plan: Plan,
    seen: u64,
}

impl Gate {
    /// Waits while the kind is held, then counts the operation and says how it fails, if it does.
    pub(crate) fn enter(&self, kind: Kind, role: Role) -> Option<Fault> {
        let mut state = self.state.lock();
        if state.holds(kind) {
            let before = state.releases;
            state.blocked += 1;
            self.arrived.notify_all();
            self.released.wait_while(&mut state, |state| state.releases == before);
        }
        state.operations.add(kind, role);
        let armed = state.plan.as_mut().filter(|armed| armed.plan.covers(kind, role))?;
        armed.seen += 1;
        let fault = armed.plan.hits(armed.seen).then_some(armed.plan.fault)?;
        state.injected += 1;
        Some(fault)
    }

    pub(crate) fn fail(&self, plan: Plan) {
        self.state.lock().plan = Some(Armed { plan, seen: 0 });
    }

    pub(crate) fn heal(&self) {
        self.state.lock().plan = None;
    }

    pub(crate) fn operations(&self) -> Operations {
        self.state.lock().operations.clone()
    }

    pub(crate) fn injected(&self) -> u64 {
        self.state.lock().injected
    }

    pub(crate) fn hold(&self, kinds: Kinds) {
        let mut state = self.state.lock();
        state.held = Some(state.held.map_or(kinds, |held| held | kinds));
    }

    pub(crate) fn release(&self) {
        self.let_go(false);
    }

    fn let_go(&self, hold_on: bool) {
        let mut state = self.state.lock();
        if !hold_on {
            state.held = None;
        }
        state.releases += 1;
        // Here and not where they wake: once released they are held no more.
        state.blocked = 0;
        self.released.notify_all();
    }

    pub(crate) fn held(&self) -> usize {
        self.state.lock().blocked
    }

    pub(crate) fn wait_until_held(&self, timeout: Duration) -> bool {
        let end = Instant::now() + timeout;
        let mut state = self.state.lock();
        self.arrived.wait_while_until(&mut state, |state| state.blocked == 0, end);
        state.blocked > 0
    }
}

impl State {
    fn holds(&self, kind: Kind) -> bool {
        self.held.is_some_and(|held| held.contains(kind))
    }
}

/// Holds operations until it is dropped or [`FaultVfs::release`](crate::FaultVfs::release) is
/// called: a test that panics lets go of the threads it stalled.
#[must_use = "dropping it releases what it holds"]
pub struct Hold<'a>(pub(crate) &'a Gate);

impl Hold<'_> {
    /// Lets the held operations go on.
    pub fn release(self) {}

    /// Lets those go on that are blocked now, and holds what comes next.
    pub fn pass(&self) {
        self.0.let_go(true);
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}
