//! What the writer is asked to do, besides the queue.

use rusqlite::Connection;

use crate::{
    Notify,
    cache::body::Body,
    entry::Entry,
    error::ReadError,
    store::{cold_reads::Asker, lease::ReturnedAs},
};

pub(crate) enum Command {
    /// Look around.
    Wake,
    /// A borrowed connection is returned: of the tenure it was lent in, and how.
    Return(Connection, Tenure, ReturnedAs),
    /// Become the writer of the file.
    Promote(Reply<Result<(), String>>),
    /// Read bodies on the writer's own connection.
    Read(BodyRequest),
    /// See whether the file is sound: a reader says it is not.
    Check,
    /// Commit what is queued, and end.
    Close,
}

/// Bodies that somebody wants read.
pub(crate) struct BodyRequest {
    pub(crate) entries: Vec<Entry>,
    pub(crate) asker: Asker,
    pub(crate) reply: Reply<ReadBodies>,
}

/// Bodies that were asked for, none for each shape that is gone.
pub type ReadBodies = Result<Vec<Option<Body>>, ReadError>;

/// Which of the roles that a store has had, one after the other, something belongs to.
pub(crate) type Tenure = u64;

/// A notification that goes out even if the writer ends before it answers.
pub(crate) struct Reply<T> {
    notify: Option<Notify<T>>,
    unanswered: fn() -> T,
}

impl<T> Reply<T> {
    pub(crate) fn new(notify: Notify<T>, unanswered: fn() -> T) -> Self {
        Self { notify: Some(notify), unanswered }
    }

    pub(crate) fn send(mut self, answer: T) {
        if let Some(notify) = self.notify.take() {
            notify(answer);
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(notify) = self.notify.take() {
            notify((self.unanswered)());
        }
    }
}
