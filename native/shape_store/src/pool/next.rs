//! What a turn ends with.

use std::time::Instant;

/// What a piece of work, such as a writer, waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// For nothing: there is more to do.
    Again,
    /// For something to arrive; if there is a time, no longer than that.
    Wait(Option<Instant>),
    /// It has ended.
    Over,
}

impl Next {
    /// Waits until the first of some times.
    pub(crate) fn first(times: impl IntoIterator<Item = Option<Instant>>) -> Self {
        Self::Wait(times.into_iter().flatten().min())
    }
}
