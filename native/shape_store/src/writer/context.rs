//! What a writer has for as long as it is open, whatever its role.

use std::{
    any::Any,
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tracing::{error, warn};

use super::Role;
use crate::{
    event::Event,
    file::{Locks, handle_list::write_list},
    queue::{Change, Queue, Queued, Totals},
    shared::Shared,
    state::State,
    writer::command::{BodyRequest, Command, Reply, Tenure},
};

/// How long becoming the writer contends with the one there is.
const PROMOTE_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Context {
    pub(super) shared: Arc<Shared>,
    pub(super) locks: Locks,
    /// Whether the store is to end.
    pub(super) closing: bool,
    /// Bodies to read on the writer's own connection.
    pub(super) reads: VecDeque<Read>,
    /// Those who want this store to become the writer.
    pub(super) promotions: Vec<Promotion>,
    /// Whether somebody doubts the file.
    pub(super) doubted: bool,
    tenure: Tenure,
    _claim: Option<Box<dyn Any + Send>>,
}

/// Bodies that somebody wants read.
pub(super) struct Read {
    pub(super) request: BodyRequest,
    /// Whether it failed once, and the file was looked into.
    pub(super) again: bool,
}

/// Somebody who wants this store to become the writer.
pub(super) struct Promotion {
    pub(super) reply: Reply<Result<(), String>>,
    /// When it has contended long enough.
    pub(super) deadline: Instant,
}

impl Context {
    pub(super) fn new(
        shared: Arc<Shared>,
        locks: Locks,
        claim: Option<Box<dyn Any + Send>>,
    ) -> Self {
        Self {
            shared,
            locks,
            closing: false,
            reads: VecDeque::new(),
            promotions: Vec::new(),
            doubted: false,
            tenure: 0,
            _claim: claim,
        }
    }

    /// Begins another role.
    pub(super) fn next_tenure(&mut self) -> Tenure {
        self.tenure += 1;
        // What another role began to commit is none of this one's.
        self.shared.counters.committing_since_ms.store(0, Relaxed);
        self.tenure
    }

    pub(super) fn obey(&mut self, command: Command, role: &mut Role, now: Instant) {
        match command {
            Command::Wake => {}
            Command::Return(conn, tenure, condition) => match role {
                Role::Writing(writing) => {
                    writing.own.take_back(conn, tenure, condition, now);
                    writing.returned = true;
                }
                Role::Following(following) => {
                    following.own.take_back(conn, tenure, condition, now);
                }
            },
            Command::Promote(reply) => {
                self.promotions.push(Promotion { reply, deadline: now + PROMOTE_TIMEOUT });
            }
            Command::Read(request) => self.reads.push_back(Read { request, again: false }),
            Command::Check => self.doubted = true,
            Command::Close => self.closing = true,
        }
    }

    /// Answers those who want this store to become the writer.
    pub(super) fn promoted(&mut self, outcome: &Result<(), String>) {
        for promotion in self.promotions.drain(..) {
            promotion.reply.send(outcome.clone());
        }
    }

    /// Another instance has become the writer: from here on no change is taken, and those
    /// that are queued never will be durable. They are named in a file, and freed here.
    pub(super) fn give_up(&mut self, epoch: i64, mut backlog: VecDeque<Queued>) {
        let shared = &self.shared;
        let mut take_all = |queue: &mut Queue| {
            let mut left = queue.take();
            backlog.append(&mut left);
            let mut done = Totals::default();
            backlog.iter().for_each(|queued| done.count(&queued.change));
            queue.release(&done);
            queue.last()
        };
        // Every number that was given is among these, and none is given before the next
        // promotion. A store that is closing stays so, and takes no changes either.
        let last = shared.enter_with(State::Fenced, &mut take_all);
        let last = last.unwrap_or_else(|| take_all(&mut shared.queue.lock()));
        shared.waits.give_up(last);
        shared.counters.given_up.fetch_add(backlog.len() as u64, Relaxed);
        let list = self.list("given-up", backlog.iter().map(|queued| &queued.change));
        let (ops, path) = (backlog.len(), list.as_ref().map(|path| path.display().to_string()));
        error!(
            epoch,
            ops,
            list = path.as_deref().unwrap_or("none"),
            "another instance became the writer of the shape database; what was not committed is given up"
        );
        shared.emit(Event::Fenced { epoch, ops, list });
        self.forget_adds(&backlog);
        shared.pending.clear();
    }

    /// Takes shapes out whose adds are given up: the file that is followed from here on may
    /// not be there to say so.
    fn forget_adds(&self, backlog: &VecDeque<Queued>) {
        let shared = &self.shared;
        for queued in backlog {
            if let Change::Add { row, id, .. } = queued.change
                && let Some(entry) = shared.index.get(id).filter(|entry| entry.row == row)
            {
                shared.index.remove(&mut shared.queue.lock().mutator, id, &entry);
            }
        }
    }

    /// Names changes in a file beside the database.
    fn list<'a>(
        &self,
        what: &str,
        changes: impl ExactSizeIterator<Item = &'a Change>,
    ) -> Option<PathBuf> {
        let shared = &self.shared;
        if changes.len() == 0 || !shared.has_file() {
            return None;
        }
        let lines = changes.map(|change| (change.operation().name(), change.handle(&shared.index)));
        write_list(&*shared.options.system, shared.path(), what, lines)
            .inspect_err(|error| warn!(reason = %error, "could not list the changes given up"))
            .ok()
    }
}
