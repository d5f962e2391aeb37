//! A corrupt file is moved aside and written anew from memory.

use rusqlite::Error;
use tracing::{error, info};

use super::{Writer, no_connection};
use crate::{
    batch::is_corruption, error::OpenError, event::Event, file, options::Location, rebuild,
    shared::State,
};

impl Writer {
    /// Whether the file is sound, which a reader doubts.
    pub(super) fn check(&mut self) {
        let answer = self.reopen().and_then(|()| {
            let conn = self.conn.as_ref().ok_or_else(no_connection)?;
            conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
        });
        let corruption = match answer {
            Ok(answer) if answer == "ok" => None,
            Ok(answer) => Some(Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
                Some(answer),
            )),
            Err(error) => is_corruption(&error).then_some(error),
        };
        // What cannot be rebuilt now is met again by the next reader or batch.
        if let Some(corruption) = corruption
            && self.shared.state() == State::Active
            && self.quarantine(&corruption).is_ok()
        {
            let _ = self.rebuild();
        }
        self.shared.checked();
    }

    /// Moves a corrupt file aside. Until another is written from memory nothing
    /// can be committed.
    pub(super) fn quarantine(&mut self, corruption: &Error) -> Result<(), OpenError> {
        let Location::File(path) = &self.shared.options.location else { return Ok(()) };
        error!(path = %path.display(), reason = %corruption, "the shape database is corrupt, writing it anew from memory");
        if self.conn.take().is_some() {
            self.shared.count_connection(false);
        }
        self.corrupt = Some(file::quarantine(path)?);
        self.shared.readers.renew();
        Ok(())
    }

    /// Puts a sound file, written from memory, in the place of a corrupt one that
    /// was moved aside.
    pub(super) fn rebuild(&mut self) -> Result<(), OpenError> {
        let (Location::File(path), Some(corrupt)) = (&self.shared.options.location, &self.corrupt)
        else {
            return Ok(());
        };
        let rebuilt = rebuild::rebuild(&self.shared, path, corrupt, self.epoch, self.position)?;
        let lost = rebuilt.lost_handles();
        for (id, entry) in &rebuilt.lost {
            let mut queue = self.shared.queue.lock();
            // It may have been removed meanwhile, and its cell filled again.
            if self.shared.index.get(*id).is_some_and(|now| now.row == entry.row) {
                self.shared.index.remove(&mut queue.free, *id, entry);
            }
        }
        self.conn = Some(rebuilt.conn);
        self.shared.count_connection(true);
        self.unsure = None;
        info!(shapes = rebuilt.shapes, lost = lost.len(), "wrote the shape database anew");
        if let Some(quarantined) = self.corrupt.take() {
            self.shared.emit(Event::Rebuilt { quarantined, shapes: rebuilt.shapes, lost });
        }
        Ok(())
    }
}
