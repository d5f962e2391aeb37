//! The connection that writes: lent to whoever asks, closed when it has no use.

use std::{sync::Arc, time::Instant};

use rusqlite::Connection;

use super::{Writer, no_connection};
use crate::{
    connection::{self, GrantError, Lease, WRITER_SLOT},
    options::Location,
    shared::Command,
};

impl Writer {
    /// Lends the connection to the first in line, and to the next when it comes
    /// back. The queue waits meanwhile.
    pub(super) fn lend(&mut self) {
        loop {
            let next = self.shared.writer_line.lock().line.pop_front();
            let Some((_, notify)) = next else { return };
            if let Err(error) = self.reopen() {
                notify(Err(error.into()));
                continue;
            }
            let Some(conn) = self.conn.take() else {
                notify(Err(GrantError::Closed));
                continue;
            };
            let shared = Arc::clone(&self.shared);
            let home = move |conn| {
                if let Some(Command::Return(conn)) = shared.command(Command::Return(conn)) {
                    // The writer did not wait for it: closed where it is, on a
                    // thread of its own.
                    let _ = std::thread::Builder::new().spawn(move || drop(conn));
                }
            };
            notify(Ok(Lease::new(conn, WRITER_SLOT, Box::new(home))));
            self.await_return();
        }
    }

    fn await_return(&mut self) {
        let mut later = Vec::new();
        while self.conn.is_none() {
            let command = self.commands.recv();
            match command {
                Ok(Command::Return(conn)) => self.take_back(conn),
                Ok(command @ (Command::Promote(_) | Command::Read(..) | Command::Check)) => {
                    later.push(command);
                }
                Ok(command) => self.obey(command),
                // The borrower is gone with every handle of the store.
                Err(_) => break,
            }
        }
        for command in later {
            self.obey(command);
        }
    }

    pub(super) fn take_back(&mut self, conn: Connection) {
        // Its borrower may have died in a transaction.
        let clean = conn.is_autocommit() || conn.execute_batch("ROLLBACK").is_ok();
        self.conn = Some(conn);
        self.used = Instant::now();
        if !clean {
            self.close_connection();
        }
    }

    // --- the connection

    pub(super) fn reopen(&mut self) -> rusqlite::Result<()> {
        if self.corrupt.is_some() {
            // Opening would make an empty file.
            return Err(no_connection());
        }
        if self.conn.is_none() {
            self.conn = Some(connection::open_writer(&self.shared.options)?);
            self.shared.count_connection(true);
        }
        self.used = Instant::now();
        Ok(())
    }

    pub(super) fn close_connection(&mut self) {
        // What is in memory is gone with its connection.
        if self.shared.options.location != Location::Memory && self.conn.take().is_some() {
            self.shared.count_connection(false);
        }
    }

    /// Closes what had no use for a while; says when to look again.
    pub(super) fn next_idle(&mut self) -> Option<Instant> {
        let idle = self.shared.options.connection_idle;
        let now = Instant::now();
        let readers =
            now.checked_sub(idle).and_then(|before| self.shared.readers.close_idle(before));
        // The one connection of exclusive mode stays, and so does a standby's,
        // which it watches the file with.
        if self.shared.options.exclusive || self.following.is_some() || self.conn.is_none() {
            return readers;
        }
        if now.duration_since(self.used) >= idle {
            self.close_connection();
            return readers;
        }
        Some(readers.map_or(self.used + idle, |at| at.min(self.used + idle)))
    }
}
