//! Whether the writer works, gathers or rests, so that it is sent for only when it
//! would not come by itself in time.

use std::sync::atomic::Ordering::SeqCst;

use crate::sync::AtomicU8;

/// It will look around before it pauses.
const WORKING: u8 = 0b00;
/// It will look around in a moment; what cannot wait that long has to send for it.
const GATHERING: u8 = 0b01;
/// It will not look around until it is sent for.
const RESTING: u8 = 0b10;

/// The protocol: who asks for something first leaves it where the writer looks, then
/// rouses it. The writer says that it is about to pause, then looks once more, then
/// pauses until it is sent for. So either the look finds what was left, or whoever
/// left it finds the writer about to pause.
#[derive(Debug)]
pub(crate) struct Wake {
    state: AtomicU8,
}

impl Wake {
    pub(crate) fn new() -> Self {
        Self { state: AtomicU8::new(WORKING) }
    }

    /// For callers: whether the writer has to be sent for. Then do, for nobody else
    /// will.
    #[must_use]
    pub(crate) fn rouse(&self) -> bool {
        self.state.fetch_and(!RESTING, SeqCst) == RESTING
    }

    /// The same for callers who wait for what they left, or hold up others.
    #[must_use]
    pub(crate) fn rouse_now(&self) -> bool {
        self.state.swap(WORKING, SeqCst) != WORKING
    }

    // In these a swap: the looks that follow it are not made before it, and it meets the
    // swap of whoever rouses, so that what was left before that is seen.

    /// For the writer, before its last look for what cannot wait.
    pub(crate) fn about_to_gather(&self) {
        self.state.swap(GATHERING, SeqCst);
    }

    /// For the writer, before its last look for anything.
    pub(crate) fn about_to_rest(&self) {
        self.state.swap(RESTING, SeqCst);
    }

    /// For the writer, when it has found something after all, was sent for, or has
    /// gathered long enough.
    pub(crate) fn risen(&self) {
        self.state.swap(WORKING, SeqCst);
    }

    /// Whether it does nothing now.
    pub(crate) fn is_idle(&self) -> bool {
        self.state.load(SeqCst) != WORKING
    }
}
