//! An answer that somebody waits for and may take back.
//!
//! A wait ends in its answer or is taken back, never both. So no answer is left in the
//! mailbox of one who has gone on. Whatever is waited for, it is taken back here.

use std::any::Any;

use parking_lot::Mutex;
use rustler::{Encoder as _, Env, Reference, Resource, ResourceArc, Term};
use shape_store::Asker;

use crate::{
    atoms,
    messenger::{Caller, is_ours},
};

pub(crate) struct Owed {
    state: Mutex<State>,
    /// Who was told that the answer is here: its environment, which a scheduler allocated, is
    /// freed with this, and by one.
    told: Mutex<Option<Caller>>,
}

enum State {
    /// The request stands in a line of its own, from which this takes it: false when its
    /// answer is on its way.
    InLine(Box<dyn FnOnce() -> bool + Send>),
    /// The request goes on whether or not its answer is wanted.
    Asked(Caller),
    /// The answer is here.
    Here(Box<dyn Any + Send>),
    /// The answer was sent, or nobody wants it.
    Over,
}

#[rustler::resource_impl]
impl Resource for Owed {}

/// A panic leaves a state that is whole.
impl std::panic::RefUnwindSafe for Owed {}

impl Owed {
    /// For a request that `take_back` removes from where it stands.
    pub(crate) fn in_line(take_back: impl FnOnce() -> bool + Send + 'static) -> ResourceArc<Self> {
        Self::with(State::InLine(Box::new(take_back)))
    }

    /// For a request that goes on when nobody wants its answer any more.
    pub(crate) fn asked(env: Env<'_>, reference: Reference<'_>) -> (ResourceArc<Self>, Answer) {
        let owed = Self::with(State::Asked(Caller::new(env, reference)));
        (owed.clone(), Answer(owed))
    }

    fn with(state: State) -> ResourceArc<Self> {
        ResourceArc::new(Self { state: Mutex::new(state), told: Mutex::new(None) })
    }

    /// The answer that was left here.
    pub(crate) fn take<T: 'static>(&self) -> Option<T> {
        match self.change(State::Over) {
            State::Here(answer) => Some(*answer.downcast().ok()?),
            _ => None,
        }
    }

    /// Leaves what was taken to be taken again.
    pub(crate) fn put_back<T: Send + 'static>(&self, answer: T) {
        *self.state.lock() = State::Here(Box::new(answer));
    }

    fn change(&self, next: State) -> State {
        std::mem::replace(&mut self.state.lock(), next)
    }

    fn is_wanted(&self) -> bool {
        matches!(&*self.state.lock(), State::Asked(caller) if caller.is_alive())
    }
}

/// Answers the caller, unless the request was taken back.
pub(crate) struct Answer(ResourceArc<Owed>);

impl Answer {
    /// Sends `{reference, answer}`.
    pub(crate) fn send(self, write: impl for<'a> FnOnce(Env<'a>) -> Term<'a> + Send + 'static) {
        if let State::Asked(caller) = self.0.change(State::Over) {
            caller.answer(write);
        }
    }

    /// Has the answer here, to be taken, and sends `{reference, :here}`: it is made into terms
    /// by who wants it, on a thread of the VM.
    pub(crate) fn put<T: Send + 'static>(self, answer: T) {
        let caller = {
            let mut state = self.0.state.lock();
            let State::Asked(_) = *state else { return };
            std::mem::replace(&mut *state, State::Here(Box::new(answer)))
        };
        let State::Asked(mut caller) = caller else { return };
        if is_ours() {
            caller.send(here);
            *self.0.told.lock() = Some(caller);
        } else {
            caller.answer(here);
        }
    }

    /// Who asks for bodies with this answer.
    pub(crate) fn asker(&self, has_writer: bool) -> Asker {
        let owed = self.0.clone();
        Asker { has_writer, is_wanting: Box::new(move || owed.is_wanted()) }
    }
}

fn here(env: Env<'_>) -> Term<'_> {
    atoms::here().encode(env)
}

/// False when the answer is on its way.
#[rustler::nif]
fn take_back(owed: &Owed) -> bool {
    let mut state = owed.state.lock();
    match std::mem::replace(&mut *state, State::Over) {
        State::InLine(take_back) => {
            drop(state);
            take_back()
        }
        State::Asked(_caller) => true,
        State::Over => false,
        here @ State::Here(_) => {
            *state = here;
            false
        }
    }
}
