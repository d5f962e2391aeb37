//! Following another writer of the file.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use rusqlite::{Connection, params};
use tracing::{info, warn};

use super::{Turn, context::Context, own_connection::OwnConnection, retry::LONGEST_PAUSE};
use crate::{
    file::{
        Label, Log, Opened,
        connection::{open_to_read, open_to_write},
        fault::{Fault, Passing},
        follow::Followed,
        load::Loader,
        log_of, open_labelled,
        schema::Identity,
    },
    pool::Next,
    shared::Shared,
    system::Anchor,
};

pub(super) struct Following {
    pub(super) own: OwnConnection,
    /// None until the file was read, after a fencing.
    pub(super) seen: Option<Seen>,
    /// Of the database that was written last, by this store or the one it follows.
    pub(super) label: Label,
    /// When to look again.
    next: Instant,
    /// How long to wait then, which grows while looks fail.
    pause: Duration,
    failures: u32,
    /// When to try again to become the writer.
    pub(super) promote_at: Option<Instant>,
    /// Of a store that was the writer, until it has read what the other one wrote.
    pub(super) before: Option<WasWriter>,
    /// Whether somebody else could take the file from this store, which was its writer.
    was_fenced: bool,
}

/// What a follower has read, and of which file, whose number nobody else gets meanwhile.
pub(super) struct Seen {
    pub(super) anchor: Box<dyn Anchor>,
    pub(super) identity: Identity,
    /// What `PRAGMA data_version` gave then.
    version: i64,
    /// The log of the connection it was read by.
    log: Option<Log>,
    pub(super) followed: Followed,
}

impl Seen {
    /// Whether this is the file that was read.
    pub(super) fn is(&self, opened: &Opened) -> bool {
        self.anchor.id() == opened.id && self.identity == opened.label.identity
    }
}

/// The index is what this store wrote, and this its connection to the file of then, if it had
/// one.
pub(super) struct WasWriter(pub(super) Option<Connection>);

impl Following {
    /// Begins to follow the writer there is, with all that it has written.
    pub(super) fn begin(context: &mut Context) -> Result<Self, Fault> {
        let nothing = Label {
            identity: Identity::default(),
            epoch: 0,
            position: crate::file::schema::Position { batch: 0, next_row: 1 },
        };
        let mut following = Self::new(context, nothing, None);
        following.look(context)?;
        Ok(following)
    }

    /// Begins to follow the writer that took the file of this label over.
    pub(super) fn after_fencing(
        context: &mut Context,
        label: Label,
        conn: Option<Connection>,
    ) -> Self {
        Self::new(context, label, Some(WasWriter(conn)))
    }

    fn new(context: &mut Context, label: Label, before: Option<WasWriter>) -> Self {
        let tenure = context.next_tenure();
        let shared = &context.shared;
        Self {
            own: OwnConnection::closed(shared, tenure),
            seen: None,
            label,
            next: shared.now(),
            pause: shared.options.follow_interval,
            failures: 0,
            promote_at: None,
            was_fenced: before.is_some(),
            before,
        }
    }

    pub(super) fn step(&mut self, context: &mut Context, now: Instant) -> Turn {
        if context.closing {
            context.promoted(&Err("the store is closed".into()));
            self.own.close();
            return Turn::Done;
        }
        if self.own.is_lent() {
            return Turn::Next(Next::Wait(None));
        }
        if std::mem::take(&mut context.doubted) {
            // The writer sees to its file; what it puts there is looked for at once.
            self.next = now;
            context.shared.checked();
        }
        if !context.promotions.is_empty() && self.promote_at.is_none_or(|at| at <= now) {
            if let Some(role) = self.promote(context, now) {
                return Turn::Become(role);
            }
            return Turn::Next(Next::Again);
        }
        if self.next <= now {
            self.look_when_due(context);
        }
        self.serve(context);
        self.park(context, now)
    }

    fn look_when_due(&mut self, context: &mut Context) {
        let usual = context.shared.options.follow_interval;
        match self.look(context) {
            Ok(()) => {
                if self.failures > 0 {
                    context.shared.counters.trouble.is_over();
                    info!(
                        failures = self.failures,
                        "the writer of the shape database is followed again"
                    );
                }
                (self.failures, self.pause) = (0, usual);
            }
            Err(fault) => {
                context.shared.counters.faults.fetch_add(1, Relaxed);
                let now_ms = context.shared.clock_ms();
                context.shared.counters.trouble.note(now_ms, fault.to_string());
                if self.failures == 0 {
                    warn!(reason = %fault, "the writer of the shape database cannot be followed for now");
                }
                self.failures = self.failures.saturating_add(1);
                self.own.close();
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            }
        }
        // A look may take longer than the pause, which is for others to go on in.
        self.next = context.shared.now() + self.pause;
    }

    /// Looks at what the writer changed since. The file may be another by now: the writer
    /// puts one in its place when it is damaged.
    fn look(&mut self, context: &Context) -> Result<(), Fault> {
        let shared = &context.shared;
        let (options, path) = (&shared.options, shared.path());
        let id = options.system.stat(path)?.map(|there| there.id);
        let loader = Loader::of(shared);
        self.leave_lost_log(shared)?;
        if let (Some(seen), Some(conn)) = (&mut self.seen, self.own.get())
            && id == Some(seen.anchor.id())
        {
            let version = data_version(conn)?;
            if version != seen.version {
                loader.follow(conn, &mut seen.followed)?;
                self.label.position = seen.followed.position();
                seen.version = version;
            }
            return self.leave_log(shared);
        }
        let system = &*options.system;
        // In exclusive mode the writer's lock keeps others out of its file. Who was fenced all
        // the same has no lock in common with the new writer: a journal of a transaction in
        // the middle looks like one that was left behind, and who may write rolls it back.
        let reads_only = options.exclusive && self.was_fenced;
        let open = || {
            Ok(open_labelled(system, path, || match reads_only {
                true => open_to_read(path, options),
                false => open_to_write(path, options),
            })?)
        };
        let (opened, log) = match options.exclusive {
            true => (open()?, None),
            false => Log::opened(system, path, open)?,
        };
        // Before the load: a change during it counts as unseen.
        let version = data_version(&opened.conn)?;
        let anchor = options.system.anchor(path)?;
        if anchor.id() != opened.id {
            return Err(Passing::Turn.into());
        }
        // Readers of the file before would not find what the index has of this one.
        shared.reads_from(opened.id, opened.label.identity);
        let followed = match self.seen.take() {
            Some(mut seen) if seen.is(&opened) => {
                loader.follow(&opened.conn, &mut seen.followed)?;
                seen.followed
            }
            _ => loader.load_to_follow(&opened.conn)?,
        };
        self.label = Label { position: followed.position(), ..opened.label };
        let identity = opened.label.identity;
        self.seen = Some(Seen { anchor, identity, version, log, followed });
        self.own.put(opened.conn);
        self.before = None;
        self.leave_log(shared)
    }

    /// Closes all connections to a log, or to shared memory, that has no name any more: what
    /// the writer commits is not to be seen there, and what is written by it would go over
    /// that. The connections of a process share it, so that none may stay. Nor may they where
    /// there was no log: which one they have used since then is not known.
    pub(super) fn leave_lost_log(&mut self, shared: &Shared) -> Result<(), Fault> {
        if self.own.get().is_none() || shared.options.exclusive {
            return Ok(());
        }
        let Some(seen) = &self.seen else { return Ok(()) };
        let (system, path) = (&*shared.options.system, shared.path());
        let is_left = match &seen.log {
            Some(log) => log.is_there(system, path)?,
            None => system.stat(&log_of(path))?.is_none(),
        };
        if !is_left {
            self.own.close();
            shared.readers.renew();
        }
        Ok(())
    }

    /// Leaves a file with a write-ahead log that somebody has put there, in exclusive mode:
    /// who is to write it has to take the log out of it, and cannot while others have it open.
    fn leave_log(&mut self, shared: &Shared) -> Result<(), Fault> {
        if shared.options.exclusive && self.own.get().map_or(Ok(false), has_log)? {
            self.own.close();
        }
        Ok(())
    }

    /// Lends the connection to whoever wants it, and reads what was asked for.
    fn serve(&mut self, context: &mut Context) {
        for asked in context.reads.drain(..) {
            if (asked.request.asker.is_wanting)() {
                let read = context.shared.read_bodies(self.own.get(), &asked.request.entries);
                asked.request.reply.send(read);
            }
        }
        let next = context.shared.writer_line.lock().pop();
        let Some(notify) = next else { return };
        if self.own.get().is_none() {
            let reason = "the file cannot be followed for now".into();
            return notify(Err(crate::store::lease::GrantError::NotOurs(reason)));
        }
        self.own.lend(notify);
    }

    fn park(&mut self, context: &Context, now: Instant) -> Turn {
        let shared = Arc::clone(&context.shared);
        if self.own.is_lent() {
            return Turn::Next(Next::Again);
        }
        shared.mail.wake_up.prepare_to_park();
        // Whoever asked before that has told nobody.
        if !shared.writer_line.lock().is_empty() {
            return Turn::Next(Next::Again);
        }
        // Its own connection stays, which it watches the file with.
        let idle = now.checked_sub(shared.options.connection_idle);
        let readers = idle.and_then(|before| shared.readers.close_idle(before));
        let promote_at = self.promote_at.filter(|_| !context.promotions.is_empty());
        Turn::Next(Next::first([Some(self.next), readers, promote_at]))
    }
}

/// Whether the file is one with a write-ahead log.
fn has_log(conn: &Connection) -> rusqlite::Result<bool> {
    let journal: String = conn.query_row("PRAGMA main.journal_mode", [], |row| row.get(0))?;
    Ok(journal.eq_ignore_ascii_case("wal"))
}

fn data_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("PRAGMA main.data_version", params![], |row| row.get(0))
}
