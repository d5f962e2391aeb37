//! An answer that somebody waits for and may take back.
//!
//! A wait ends in its answer or is taken back, never both. So no answer is left in the
//! mailbox of one who has gone on. Whatever is waited for, it is taken back here.

use std::sync::Arc;

use parking_lot::Mutex;
use rustler::{Env, Reference, Resource, ResourceArc, Term};

use crate::messenger::Caller;

/// Takes the request back. False when its answer is on its way.
type TakeBack = Box<dyn FnOnce() -> bool + Send>;

/// How the request is taken back, until it was.
pub(crate) struct Owed(Mutex<Option<TakeBack>>);

#[rustler::resource_impl]
impl Resource for Owed {}

/// A panic leaves the closure in there, or out.
impl std::panic::RefUnwindSafe for Owed {}

impl Owed {
    /// For a request that stands in a line of its own, from which `take_back` removes it.
    pub(crate) fn new(take_back: impl FnOnce() -> bool + Send + 'static) -> ResourceArc<Self> {
        ResourceArc::new(Self(Mutex::new(Some(Box::new(take_back)))))
    }

    /// For a request that goes on when nobody wants its answer any more.
    pub(crate) fn answered(env: Env<'_>, reference: Reference<'_>) -> (ResourceArc<Self>, Answer) {
        let caller = Arc::new(Mutex::new(Some(Caller::new(env, reference))));
        let answer = Answer(Arc::clone(&caller));
        // Whoever comes first takes the caller out.
        (Self::new(move || caller.lock().take().is_some()), answer)
    }
}

/// Answers the caller, unless the request was taken back.
pub(crate) struct Answer(Arc<Mutex<Option<Caller>>>);

impl Answer {
    /// Sends `{reference, answer}`.
    pub(crate) fn send(self, write: impl for<'a> FnOnce(Env<'a>) -> Term<'a> + Send + 'static) {
        let caller = self.0.lock().take();
        if let Some(caller) = caller {
            caller.answer(write);
        }
    }
}

/// False when the answer is on its way.
#[rustler::nif]
fn take_back(owed: &Owed) -> bool {
    let take_back = owed.0.lock().take();
    take_back.is_some_and(|take_back| take_back())
}
