//! The connection of a role: here, lent to somebody, or closed.

use std::{sync::Arc, time::Instant};

use rusqlite::Connection;

use crate::{
    file::connection::keep_log_on_close,
    shared::Shared,
    store::lease::{Granted, Lease, ReturnedAs, WRITER_SLOT, end_transaction},
    writer::command::{Command, Tenure},
};

pub(super) struct OwnConnection {
    what: What,
    used: Instant,
    /// The role it belongs to: what is returned later belongs to none.
    tenure: Tenure,
    shared: Arc<Shared>,
}

enum What {
    Closed,
    Here(Connection),
    Lent,
}

impl OwnConnection {
    pub(super) fn closed(shared: &Arc<Shared>, tenure: Tenure) -> Self {
        Self { what: What::Closed, used: shared.now(), tenure, shared: Arc::clone(shared) }
    }

    pub(super) fn new(shared: &Arc<Shared>, tenure: Tenure, conn: Connection) -> Self {
        let mut own = Self::closed(shared, tenure);
        own.put(conn);
        own
    }

    /// Holds a connection, and none that it held before.
    pub(super) fn put(&mut self, conn: Connection) {
        self.close();
        self.shared.count_connection(true);
        self.what = What::Here(conn);
        self.used = self.shared.now();
    }

    pub(super) fn get(&self) -> Option<&Connection> {
        match &self.what {
            What::Here(conn) => Some(conn),
            What::Closed | What::Lent => None,
        }
    }

    pub(super) fn is_lent(&self) -> bool {
        matches!(self.what, What::Lent)
    }

    /// Since when it has had no use, for one that is here.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        matches!(self.what, What::Here(_)).then_some(self.used)
    }

    pub(super) fn use_now(&mut self, now: Instant) {
        self.used = now;
    }

    /// Lends the connection; false when it is not here.
    pub(super) fn lend(&mut self, notify: crate::Notify<Granted>) -> bool {
        let Some(conn) = self.take(What::Lent) else { return false };
        let (shared, tenure) = (Arc::clone(&self.shared), self.tenure);
        let give_back = move |conn, condition| {
            let unsent = shared.mail.send(Command::Return(conn, tenure, condition));
            if let Some(Command::Return(conn, ..)) = unsent {
                // The writer did not wait for it.
                shared.count_connection(false);
                shared.options.system.background(Box::new(move || drop(conn)));
            }
        };
        let replaceable = self.shared.has_file();
        notify(Ok(Lease::new(conn, WRITER_SLOT, replaceable, Box::new(give_back))));
        true
    }

    /// Takes a connection back, and keeps it if it is as it was lent.
    pub(super) fn take_back(
        &mut self,
        conn: Connection,
        tenure: Tenure,
        condition: ReturnedAs,
        now: Instant,
    ) {
        if tenure != self.tenure {
            self.shared.count_connection(false);
            return;
        }
        // Its borrower may have died in a transaction.
        let unchanged = end_transaction(&conn) && condition == ReturnedAs::Unchanged;
        self.what = What::Here(conn);
        self.used = now;
        if !unchanged && self.shared.has_file() {
            self.close();
        }
    }

    /// Gives the connection away, if it is here.
    pub(super) fn release(&mut self) -> Option<Connection> {
        let conn = self.take(What::Closed)?;
        self.shared.count_connection(false);
        Some(conn)
    }

    /// Closes the connection. Its log stays: the name may belong to another file by now.
    pub(super) fn close(&mut self) {
        if let Some(conn) = self.take(What::Closed) {
            let _ = keep_log_on_close(&conn, true);
            self.shared.count_connection(false);
        }
    }

    /// Closes the connection, and has SQLite put the log into the file and remove it when
    /// this was the last connection: only for a file that has its name, while nobody can
    /// exchange it. What is left to another process stays.
    pub(super) fn close_with_log(&mut self) {
        if let Some(conn) = self.take(What::Closed) {
            let _ = keep_log_on_close(&conn, self.shared.options.external_checkpoint);
            drop(conn);
            self.shared.count_connection(false);
        }
    }

    /// The connection, if it is here.
    fn take(&mut self, leave: What) -> Option<Connection> {
        match std::mem::replace(&mut self.what, leave) {
            What::Here(conn) => Some(conn),
            other => {
                self.what = other;
                None
            }
        }
    }
}

impl Drop for OwnConnection {
    fn drop(&mut self) {
        self.close();
    }
}
