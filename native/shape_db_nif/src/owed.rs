//! An answer that somebody waits for and may take back.
//!
//! A wait ends in its answer or is taken back, never both: whoever comes first takes
//! the caller out. So no answer is left in the mailbox of one who has gone on.

use parking_lot::Mutex;
use rustler::{Env, Reference, Resource, ResourceArc, Term};

use crate::messenger::Caller;

/// The caller, until they have their answer or want none any more.
pub(crate) struct Owed(Mutex<Option<Caller>>);

#[rustler::resource_impl]
impl Resource for Owed {}

/// A panic leaves the caller in there, or out.
impl std::panic::RefUnwindSafe for Owed {}

impl Owed {
    pub(crate) fn new(env: Env<'_>, reference: Reference<'_>) -> ResourceArc<Self> {
        ResourceArc::new(Self(Mutex::new(Some(Caller::new(env, reference)))))
    }

    /// Sends `{reference, answer}`, unless it was taken back.
    pub(crate) fn answer(&self, write: impl for<'a> FnOnce(Env<'a>) -> Term<'a> + Send + 'static) {
        let caller = self.0.lock().take();
        if let Some(caller) = caller {
            caller.answer(write);
        }
    }
}

/// False when the answer is on its way.
#[rustler::nif]
fn take_back(owed: &Owed) -> bool {
    owed.0.lock().take().is_some()
}
