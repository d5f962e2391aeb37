//! Whether the writer rests, so that only the first change after a rest has to send
//! for it.

use std::sync::atomic::Ordering::SeqCst;

use crate::sync::AtomicBool;

/// The protocol: who asks for something first leaves it where the writer looks, then
/// rouses it. The writer says that it is about to rest, then looks once more, then
/// rests until it is sent for. So either the look finds what was left, or whoever
/// left it finds the writer about to rest.
#[derive(Debug)]
pub(crate) struct Wake {
    awake: AtomicBool,
}

impl Wake {
    pub(crate) fn new() -> Self {
        Self { awake: AtomicBool::new(true) }
    }

    /// For callers: whether the writer has to be sent for. Then do, for nobody else
    /// will.
    #[must_use]
    pub(crate) fn rouse(&self) -> bool {
        !self.awake.swap(true, SeqCst)
    }

    /// For the writer, before its last look.
    pub(crate) fn about_to_rest(&self) {
        // A swap, so that the looks that follow it are not made before it.
        self.awake.swap(false, SeqCst);
    }

    /// For the writer, when it has found something after all, or was sent for.
    pub(crate) fn risen(&self) {
        self.awake.store(true, SeqCst);
    }

    pub(crate) fn is_resting(&self) -> bool {
        !self.awake.load(SeqCst)
    }
}
