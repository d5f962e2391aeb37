//! What does not succeed at present, since when, and why: for whoever looks.

use parking_lot::Mutex;

/// What the writer tries again and again.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Trouble {
    /// When it failed first, in milliseconds since 1970.
    pub since_ms: u64,
    /// How often it has failed.
    pub failures: u64,
    /// What was said last.
    pub reason: String,
}

/// The trouble there is. Touched when something fails, and when it is over.
#[derive(Default)]
pub(crate) struct CurrentTrouble(Mutex<Option<Trouble>>);

impl CurrentTrouble {
    pub(crate) fn note(&self, now_ms: u64, reason: String) {
        let mut there = self.0.lock();
        let before = there.take().unwrap_or(Trouble { since_ms: now_ms, ..Trouble::default() });
        *there = Some(Trouble { failures: before.failures + 1, reason, ..before });
    }

    pub(crate) fn is_over(&self) {
        *self.0.lock() = None;
    }

    pub(crate) fn get(&self) -> Option<Trouble> {
        self.0.lock().clone()
    }
}
