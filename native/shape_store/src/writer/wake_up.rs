//! Whether the writer works, delays or is parked, so that it is called only when it
//! would not come by itself in time.

use std::sync::atomic::Ordering::SeqCst;

use crate::sync::AtomicU8;

/// It will look around before it pauses.
const RUNNING: u8 = 0b00;
/// It will look around in a moment; what cannot wait that long has to call it.
const DELAYING: u8 = 0b01;
/// It will not look around until it is called.
const PARKED: u8 = 0b10;

/// The protocol: who asks for something first leaves it where the writer looks, then
/// notifies it. The writer says that it is about to pause, then looks once more, then
/// pauses until it is called. So either the look finds what was left, or whoever
/// left it finds the writer about to pause.
#[derive(Debug)]
pub(crate) struct WakeUp {
    state: AtomicU8,
}

impl WakeUp {
    pub(crate) fn new() -> Self {
        Self { state: AtomicU8::new(RUNNING) }
    }

    /// For callers: whether the writer has to be called. Then do, for nobody else
    /// will.
    #[must_use]
    pub(crate) fn notify(&self) -> bool {
        self.state.fetch_and(!PARKED, SeqCst) == PARKED
    }

    /// The same for callers who wait for what they left, or hold up others.
    #[must_use]
    pub(crate) fn notify_now(&self) -> bool {
        self.state.swap(RUNNING, SeqCst) != RUNNING
    }

    // Swaps: the looks that follow cannot be made before them, and each is ordered with the
    // swap of whoever notifies, so that what was left before that is seen.

    /// For the writer, before its last look for what cannot wait.
    pub(crate) fn prepare_to_delay(&self) {
        self.state.swap(DELAYING, SeqCst);
    }

    /// For the writer, before its last look for anything.
    pub(crate) fn prepare_to_park(&self) {
        self.state.swap(PARKED, SeqCst);
    }

    /// For the writer, when it has found something after all, was called, or has
    /// gathered long enough.
    pub(crate) fn unparked(&self) {
        self.state.swap(RUNNING, SeqCst);
    }

    /// Whether it does nothing now.
    pub(crate) fn is_idle(&self) -> bool {
        self.state.load(SeqCst) != RUNNING
    }
}
