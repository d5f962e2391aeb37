//! A batch that failed is tried again.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use tracing::warn;

use super::{context::Context, writing::Writing};
use crate::event::Event;

/// The pause after a batch failed once; each further failure doubles it.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(10);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Failing {
    pub(super) since: Instant,
    pub(super) failures: u32,
    pause: Duration,
    /// How long the batch was: it is tried again as it was, because its commit
    /// may have succeeded in spite of its error.
    pub(super) ops: usize,
}

impl Writing {
    /// The batch stays where it is, and is tried again after a pause.
    pub(super) fn failed(
        &mut self,
        context: &Context,
        ops: usize,
        started: Instant,
        error: &dyn std::error::Error,
    ) {
        let shared = &context.shared;
        shared.counters.faults.fetch_add(1, Relaxed);
        shared.counters.trouble.note(shared.clock_ms(), error.to_string());
        let first = Failing { since: started, failures: 0, pause: FIRST_PAUSE, ops };
        let failing = self.failing.get_or_insert(first);
        failing.failures += 1;
        let pause = failing.pause;
        failing.pause = (pause * 2).min(LONGEST_PAUSE);
        warn!(reason = %error, failures = failing.failures, ops, retry_in = ?pause, "a commit of the shape store failed");
        let ended = shared.now();
        shared.emit(Event::CommitFailed {
            ops,
            duration: ended.saturating_duration_since(started),
            reason: error.to_string(),
            retry_in: pause,
        });
        // A connection that failed may be stuck in its failure. What is in memory is gone
        // with its connection.
        if shared.has_file() {
            self.own.close();
        }
        self.not_before = Some(ended + pause);
    }
}
