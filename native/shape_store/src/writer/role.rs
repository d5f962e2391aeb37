//! Who writes the file: this store, or another one that it follows.

use std::{path::PathBuf, sync::atomic::Ordering::Relaxed, time::Instant};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, config::DbConfig, params};
use tracing::{info, warn};

use super::{PROMOTE_TIMEOUT, Writer, no_connection};
use crate::{
    batch::is_damage,
    connection, database,
    error::OpenError,
    event::Event,
    file::{self, FileId},
    load::{Followed, Loader},
    options::{Location, Synchronous},
    schema,
    shared::{Shared, State},
};

/// A standby's view of the other writer.
pub(super) struct Following {
    seen: Followed,
    /// What `PRAGMA data_version` gave then.
    version: i64,
    /// Which file that was: the writer puts another in its place when it turns out
    /// to be corrupt.
    file: Option<FileId>,
    /// When to look again.
    pub(super) next: Instant,
}

impl Writer {
    /// Loads the index and becomes the writer; nobody else has the file. One that
    /// passed for sound and cannot be loaded is moved aside after all: then says
    /// where it is.
    pub(super) fn start_writing(&mut self) -> Result<Option<PathBuf>, OpenError> {
        let error = match self.load_and_raise() {
            Ok(()) => return Ok(None),
            Err(error) => error,
        };
        let Location::File(path) = &self.shared.options.location else {
            return Err(self.named(error));
        };
        if !is_damage(&error) {
            return Err(self.named(error));
        }
        let path = path.clone();
        self.close_connection();
        self.loader().clear();
        let (conn, quarantined) =
            database::start_empty(&self.shared.options, &path, &error.to_string())?;
        self.conn = Some(conn);
        self.shared.count_connection(true);
        self.load_and_raise().map_err(|error| self.named(error))?;
        Ok(Some(quarantined))
    }

    fn load_and_raise(&mut self) -> rusqlite::Result<()> {
        let Some(conn) = &self.conn else { return Err(no_connection()) };
        let options = &self.shared.options;
        let second = || match options.exclusive {
            true => None,
            false => connection::open_reader(options).ok(),
        };
        self.position = self.loader().load(conn, second)?;
        if self.shared.options.exclusive {
            self.note_in_use()?;
        }
        let Some(conn) = &self.conn else { return Err(no_connection()) };
        self.epoch = raise_epoch(conn)?;
        self.shared.counters.epoch.store(self.epoch, Relaxed);
        Ok(())
    }

    /// Before anything is written without a sync, the disk has to know that the file
    /// is in use: a loss of power could leave a damaged file that says that it needs
    /// no check. A write-ahead log is left alone until the first batch, so that a
    /// start need not wait for the disk.
    pub(super) fn note_in_use(&mut self) -> rusqlite::Result<()> {
        if self.noted {
            return Ok(());
        }
        let Some(conn) = &self.conn else { return Err(no_connection()) };
        let options = &self.shared.options;
        let level = |level| connection::synchronous(options, level);
        conn.pragma_update(None, "synchronous", level(Synchronous::Full))?;
        let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
        schema::write_meta(&tx, "clean", 0)?;
        tx.commit()?;
        conn.query_row("PRAGMA wal_checkpoint", [], |_| Ok(()))?;
        conn.pragma_update(None, "synchronous", level(options.synchronous))?;
        self.noted = true;
        Ok(())
    }

    pub(super) fn named(&self, source: rusqlite::Error) -> OpenError {
        let path = match &self.shared.options.location {
            Location::File(path) => path.clone(),
            Location::Memory => ":memory:".into(),
        };
        OpenError::Sqlite { path, source }
    }

    pub(super) fn start_following(&mut self) -> rusqlite::Result<()> {
        self.reopen()?;
        let Some(conn) = &self.conn else { return Err(no_connection()) };
        keep_log_on_close(conn, true)?;
        // Before the load: a change during it counts as unseen.
        let (version, file) = (data_version(conn)?, self.file_id());
        let seen = self.loader().load_to_follow(conn)?;
        let next = Instant::now() + self.shared.options.follow_interval;
        self.following = Some(Following { seen, version, file, next });
        Ok(())
    }

    /// A standby's look at what the writer changed since, when it is due.
    pub(super) fn follow(&mut self) {
        let Some(mut following) = self.following.take_if(|f| f.next <= Instant::now()) else {
            return;
        };
        if let Err(error) = self.look(&mut following) {
            self.shared.counters.faults.fetch_add(1, Relaxed);
            warn!(reason = %error, "a standby could not follow the writer of its file");
        }
        following.next = Instant::now() + self.shared.options.follow_interval;
        self.following = Some(following);
    }

    fn look(&mut self, following: &mut Following) -> rusqlite::Result<()> {
        let file = self.file_id();
        if file != following.file {
            self.close_connection();
            self.shared.readers.close_idle(Instant::now());
        }
        self.reopen()?;
        let Some(conn) = &self.conn else { return Err(no_connection()) };
        keep_log_on_close(conn, true)?;
        let version = data_version(conn)?;
        if file != following.file {
            following.seen = self.loader().load_to_follow(conn)?;
        } else if version != following.version {
            self.loader().follow(conn, &mut following.seen)?;
        }
        following.version = version;
        following.file = file;
        Ok(())
    }

    fn file_id(&self) -> Option<FileId> {
        match &self.shared.options.location {
            Location::File(path) => file::id(path),
            Location::Memory => None,
        }
    }

    /// Becomes the writer of the file, with all that the other one wrote.
    pub(super) fn promote(&mut self) -> Result<(), String> {
        match self.shared.state() {
            State::Active => return Ok(()),
            State::Standby | State::Fenced => {}
            state => return Err(format!("the store is {state:?}").to_lowercase()),
        }
        let promoted = self.promote_in_time().map_err(|error| error.to_string());
        if promoted.is_ok() {
            self.fenced = false;
            self.shared.counters.epoch.store(self.epoch, Relaxed);
            self.shared.waits.begin_again(self.shared.queue.lock().last());
            self.shared.enter(State::Active);
            info!(epoch = self.epoch, "became the writer of the shape database");
            self.shared.emit(Event::Promoted { epoch: self.epoch });
        }
        promoted
    }

    /// The other one may be in the middle of one batch after another.
    fn promote_in_time(&mut self) -> rusqlite::Result<()> {
        let deadline = Instant::now() + PROMOTE_TIMEOUT;
        loop {
            match self.try_promote() {
                Err(error)
                    if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                        && Instant::now() < deadline => {}
                other => return other,
            }
        }
    }

    fn try_promote(&mut self) -> rusqlite::Result<()> {
        self.reopen()?;
        let Some(conn) = &self.conn else { return Err(no_connection()) };
        keep_log_on_close(conn, false)?;
        // The epoch first: what the other one commits after it, it cannot.
        let epoch = raise_epoch(conn)?;
        let loader = loader_of(&self.shared);
        self.position = match &mut self.following {
            Some(following) => {
                loader.follow(conn, &mut following.seen)?;
                following.seen.position()
            }
            None => {
                // Fenced once: what was queued then is not in the file.
                let seen = loader.load_to_follow(conn)?;
                self.shared.pending.clear();
                seen.position()
            }
        };
        self.following = None;
        self.epoch = epoch;
        self.skipped.clear();
        Ok(())
    }

    fn loader(&self) -> Loader<'_> {
        loader_of(&self.shared)
    }
}

fn loader_of(shared: &Shared) -> Loader<'_> {
    let ages = shared.options.keep_ages;
    Loader { index: &shared.index, queue: &shared.queue, clock: &shared.clock, ages }
}

/// Makes the next epoch this store's, and notes that the file is in use.
fn raise_epoch(conn: &Connection) -> rusqlite::Result<i64> {
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    let epoch = schema::read_meta_number(&tx, "epoch")? + 1;
    schema::write_meta(&tx, "epoch", epoch)?;
    schema::write_meta(&tx, "clean", 0)?;
    tx.commit()?;
    Ok(epoch)
}

/// A standby does not remove the log when it closes: its file may have been renamed,
/// and the log that has the name by then belongs to another.
fn keep_log_on_close(conn: &Connection, keep: bool) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(drop)
}

fn data_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("PRAGMA data_version", params![], |row| row.get(0))
}
