//! Saving when shapes were last read, between two batches and at the end.

use std::time::Instant;

use tracing::warn;

use super::Writer;
use crate::{ages, shared::State};

impl Writer {
    /// When they are to be saved next.
    pub(super) fn next_ages(&self) -> Option<Instant> {
        self.keeps_ages().then_some(self.ages_due)
    }

    pub(super) fn save_ages_when_due(&mut self) {
        if self.keeps_ages() && self.failing.is_none() && self.ages_due <= Instant::now() {
            self.save_ages();
        }
    }

    /// What cannot be saved is saved the next time: nobody waits for it.
    pub(super) fn save_ages(&mut self) {
        self.ages_due = Instant::now() + self.shared.options.ages_interval;
        if !self.shared.options.keep_ages || self.corrupt.is_some() {
            return;
        }
        if let Err(reason) = self.reopen().and_then(|()| self.try_save_ages()) {
            warn!(%reason, "cannot write when shapes were last read");
        }
    }

    fn try_save_ages(&mut self) -> rusqlite::Result<()> {
        self.note_in_use()?;
        let Some(conn) = &self.conn else { return Ok(()) };
        ages::save(conn, &self.shared, self.epoch, &mut self.ages_saved)
    }

    fn keeps_ages(&self) -> bool {
        self.shared.options.keep_ages && self.shared.state() == State::Active
    }
}
