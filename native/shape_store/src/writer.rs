//! The one that writes: it opens the file, fills the index, commits what is queued in
//! batches, and ends when the store is closed and the queue empty; or it follows another
//! that does.
//!
//! It is a state machine. Told the time, it does what there is to do and answers what it
//! waits for; the pool that runs it, or a simulator, is the loop around it. What it
//! is at any time is one value: opening, the writer ([`Writing`]) or a follower
//! ([`Following`]). All that belongs to a role is made when it begins, and goes with it.

mod ages;
pub(crate) mod batch;
mod closing;
pub(crate) mod command;
mod commit;
mod context;
mod following;
pub(crate) mod gate;
mod gathering;
pub(crate) mod mail;
mod opening;
mod own_connection;
mod own_file;
mod promotion;
mod replacement;
mod retry;
mod serving;
pub(crate) mod wake_up;
mod writing;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::error;

use self::{context::Context, following::Following, opening::Opening, writing::Writing};
use crate::{
    event::Event, file::import::Verify, pool::Next, queue::durable::Outcome, shared::Shared,
    state::State, store::lease::GrantError,
};

/// How long to wait before another look at a lock that somebody has.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// A store's writer, for whoever runs it: see [`crate::Store::assemble`].
pub struct Machine {
    shared: Arc<Shared>,
    phase: Phase,
}

enum Phase {
    Opening(Box<Opening>),
    Open(Box<Context>, Role),
    Over,
}

enum Role {
    Writing(Box<Writing>),
    Following(Box<Following>),
}

/// What a role answers to a step.
enum Turn {
    Next(Next),
    /// Another role begins, in place of this one.
    Become(Role),
    /// It has seen to the file, and the store may end.
    Done,
}

impl Machine {
    pub(crate) fn new(shared: Arc<Shared>, verify: Verify) -> Self {
        let opening = Box::new(Opening::new(&shared, verify));
        Self { shared, phase: Phase::Opening(opening) }
    }

    /// Does what there is to do at this time. May touch the disk. A panic in it poisons the
    /// store, and is not passed on.
    pub fn step(&mut self, now: Instant) -> Next {
        let stepped = catch_unwind(AssertUnwindSafe(|| self.step_or_panic(now)));
        stepped.unwrap_or_else(|panic| {
            let message = panic_message(&*panic);
            error!(%message, "the writer of the shape store panicked");
            // With what it had: the file goes free.
            self.phase = Phase::Over;
            end(&self.shared, State::Poisoned, Outcome::Poisoned);
            self.shared.emit(Event::Poisoned { message });
            Next::Over
        })
    }

    /// A step at the time it is.
    pub(crate) fn turn(&mut self) -> Next {
        self.step(self.shared.now())
    }

    /// Whether something has arrived that it has not looked at.
    pub fn has_mail(&self) -> bool {
        !self.shared.mail.is_empty()
    }

    fn step_or_panic(&mut self, now: Instant) -> Next {
        match &mut self.phase {
            Phase::Opening(opening) => match opening.step(&self.shared, now) {
                Ok(opening::Progress::Wait(until)) => Next::Wait(Some(until)),
                Ok(opening::Progress::Opened(context, role, opened)) => {
                    let state = match &role {
                        Role::Writing(_) => State::Active,
                        Role::Following(_) => State::Standby,
                    };
                    self.phase = Phase::Open(context, role);
                    self.shared.enter(state);
                    self.shared.emit(opened);
                    Next::Again
                }
                Err(error) => {
                    let reason = error.to_string();
                    // The file goes free before anybody hears of it.
                    self.phase = Phase::Over;
                    end(&self.shared, State::Closed, Outcome::Closed);
                    self.shared.emit(Event::OpenFailed { reason });
                    Next::Over
                }
            },
            Phase::Open(context, role) => {
                self.shared.mail.wake_up.unparked();
                for command in self.shared.mail.take() {
                    context.obey(command, role, now);
                }
                let turn = match role {
                    Role::Writing(writing) => writing.step(context, now),
                    Role::Following(following) => following.step(context, now),
                };
                match turn {
                    Turn::Next(next) => next,
                    Turn::Become(next) => {
                        *role = next;
                        Next::Again
                    }
                    Turn::Done => {
                        self.close();
                        Next::Over
                    }
                }
            }
            Phase::Over => Next::Over,
        }
    }

    fn close(&mut self) {
        // The locks with it: who hears that the store is closed can open the file.
        self.phase = Phase::Over;
        end(&self.shared, State::Closed, Outcome::Closed);
        self.shared.emit(Event::Closed { durable: self.shared.waits.durable() });
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A connection that is returned now is closed with it.
        self.shared.mail.close();
        // Of one that was not run to its end.
        if !matches!(self.phase, Phase::Over) {
            self.phase = Phase::Over;
            end(&self.shared, State::Poisoned, Outcome::Poisoned);
        }
    }
}

/// Nothing will be committed any more: tells everybody who waits, and frees what takes long
/// to free. Nothing of it is answered from here on, and who drops the last reference may be
/// a scheduler.
fn end(shared: &Shared, state: State, outcome: Outcome) {
    let left = shared.enter_with(state, |queue| queue.take());
    shared.waits.end(outcome);
    shared.readers.close();
    let line = shared.writer_line.lock().close();
    line.into_iter().for_each(|notify| notify(Err(GrantError::Closed)));
    drop(left);
    shared.pending.clear();
    shared.cache.clear();
    shared.index.clear();
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
