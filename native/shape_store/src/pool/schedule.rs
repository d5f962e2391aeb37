//! Who takes the next turn, and which thread is to do what: decisions only, so that they
//! can be gone through one by one.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Instant,
};

use super::{Limits, TaskId, next::Next};

/// What a thread is to do.
#[derive(Debug)]
pub(super) enum Do<W> {
    Turn(TaskId, W),
    /// Until it is woken, or this time; then tell [`Schedule::awake`].
    Sleep(SleepId, Option<Instant>),
    End,
}

/// What another thread is needed for, in order of preference.
#[must_use]
#[derive(Debug)]
pub(super) enum Help<T> {
    None,
    /// Wake this one.
    Wake(T),
    /// Start one; tell [`Schedule::not_started`] if that fails.
    Start,
}

type SleepId = u64;

/// `W` is the work, `T` wakes a thread.
pub(super) struct Schedule<W, T> {
    limits: Limits,
    tasks: HashMap<TaskId, Task<W>>,
    next_number: u64,
    /// First come, first served.
    ready: VecDeque<TaskId>,
    times: BTreeSet<(Instant, TaskId)>,
    /// Turns that are being taken, and since when.
    turns: Vec<(TaskId, Instant)>,
    /// The last to fall asleep is the first to be woken, so that the others can end.
    sleepers: Vec<Sleeper<T>>,
    /// Threads that were started or woken and have not looked around since: they will.
    coming: usize,
    /// Those of them that were started.
    starting: usize,
    threads: usize,
}

struct Task<W> {
    /// Not here during a turn.
    work: Option<W>,
    status: Status,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Status {
    Waiting(Option<Instant>),
    Ready,
    InTurn { called: bool },
}

struct Sleeper<T> {
    id: SleepId,
    until: Option<Instant>,
    thread: T,
}

impl<W, T: Clone> Schedule<W, T> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            tasks: HashMap::new(),
            next_number: 0,
            ready: VecDeque::new(),
            times: BTreeSet::new(),
            turns: Vec::new(),
            sleepers: Vec::new(),
            coming: 0,
            starting: 0,
            threads: 0,
        }
    }

    /// A number that nothing has.
    pub(super) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Takes a piece of work in, which is ready.
    pub(super) fn add(&mut self, task: TaskId, work: W) {
        self.tasks.insert(task, Task { work: Some(work), status: Status::Ready });
        self.ready.push_back(task);
    }

    /// Gives a piece of work back that has not had a turn.
    pub(super) fn take_out(&mut self, task: TaskId) -> Option<W> {
        self.ready.retain(|ready| *ready != task);
        self.tasks.remove(&task)?.work
    }

    /// Has a piece of work take a turn that begins after this.
    pub(super) fn call(&mut self, task: TaskId) {
        let Some(there) = self.tasks.get_mut(&task) else { return };
        match there.status {
            Status::Waiting(until) => {
                there.status = Status::Ready;
                self.ready.push_back(task);
                if let Some(until) = until {
                    self.times.remove(&(until, task));
                }
            }
            Status::InTurn { .. } => there.status = Status::InTurn { called: true },
            Status::Ready => {}
        }
    }

    /// A turn is over; what has ended is given back to be dropped.
    pub(super) fn turned(&mut self, task: TaskId, work: W, next: Next, now: Instant) -> Option<W> {
        self.turns.retain(|(other, _)| *other != task);
        let Some(there) = self.tasks.get_mut(&task) else { return Some(work) };
        let called = there.status == Status::InTurn { called: true };
        there.work = Some(work);
        match next {
            Next::Over => return self.tasks.remove(&task)?.work,
            Next::Wait(None) if !called => there.status = Status::Waiting(None),
            Next::Wait(Some(until)) if !called && until > now => {
                there.status = Status::Waiting(Some(until));
                self.times.insert((until, task));
            }
            Next::Again | Next::Wait(_) => {
                there.status = Status::Ready;
                self.ready.push_back(task);
            }
        }
        None
    }

    /// What a thread is to do, which had its last turn then.
    pub(super) fn next(&mut self, thread: &T, now: Instant, last_turn: Instant) -> Do<W> {
        self.come_due(now);
        if self.may_begin(now)
            && let Some(task) = self.ready.pop_front()
            && let Some(there) = self.tasks.get_mut(&task)
            && let Some(work) = there.work.take()
        {
            there.status = Status::InTurn { called: false };
            self.turns.push((task, now));
            return Do::Turn(task, work);
        }
        let due = self.due(now);
        let minded = self.is_minded(due);
        let idle_until = last_turn + self.limits.idle;
        // One stays, whatever there is.
        let spare = minded && !self.sleepers.is_empty();
        if spare && idle_until <= now {
            self.threads -= 1;
            return Do::End;
        }
        let until = if spare { Some(idle_until) } else { due };
        let id = self.number();
        self.sleepers.push(Sleeper { id, until, thread: thread.clone() });
        Do::Sleep(id, until)
    }

    /// Whether a thread that sleeps was not woken yet.
    pub(super) fn is_asleep(&self, sleep: SleepId) -> bool {
        self.sleepers.iter().any(|sleeper| sleeper.id == sleep)
    }

    /// A thread has slept long enough, or was woken.
    pub(super) fn awake(&mut self, sleep: SleepId) {
        let before = self.sleepers.len();
        self.sleepers.retain(|sleeper| sleeper.id != sleep);
        if self.sleepers.len() == before {
            self.coming -= 1;
        }
    }

    /// A thread that was to be started is there.
    pub(super) fn came(&mut self) {
        self.coming -= 1;
        self.starting -= 1;
    }

    /// A thread that was to be started will not come.
    pub(super) fn not_started(&mut self) {
        self.coming -= 1;
        self.starting -= 1;
        self.threads -= 1;
    }

    /// Whether there is a thread, besides those that are being started.
    pub(super) fn has_threads(&self) -> bool {
        self.threads > self.starting
    }

    /// Which thread to wake or to start so that nothing that is ready is left lying: for who
    /// calls, or has taken a turn on itself.
    pub(super) fn help(&mut self, now: Instant) -> Help<T> {
        // Who is coming looks around and asks for more help itself. While there is no other
        // thread, it may also turn out that none is to be had.
        let somebody_comes = self.coming > 0 && self.has_threads();
        if somebody_comes || self.is_minded(self.due(now)) {
            return Help::None;
        }
        self.send_for_one()
    }

    /// The same for a thread that is about to take a turn: it leaves another one behind, so
    /// that nobody who calls has to start one.
    pub(super) fn help_before_turn(&mut self, now: Instant) -> Help<T> {
        match self.coming == 0 && self.sleepers.is_empty() {
            true => self.send_for_one(),
            false => self.help(now),
        }
    }

    fn send_for_one(&mut self) -> Help<T> {
        if let Some(sleeper) = self.sleepers.pop() {
            self.coming += 1;
            return Help::Wake(sleeper.thread);
        }
        if self.threads < self.limits.threads {
            self.coming += 1;
            self.starting += 1;
            self.threads += 1;
            return Help::Start;
        }
        // Whichever turn ends first.
        Help::None
    }

    /// Whether a thread that sleeps wakes by then anyway.
    fn is_minded(&self, due: Option<Instant>) -> bool {
        let Some(due) = due else { return true };
        self.sleepers.iter().any(|sleeper| sleeper.until.is_some_and(|until| until <= due))
    }

    /// When a thread is needed next, besides those that have turns.
    fn due(&self, now: Instant) -> Option<Instant> {
        let time = self.times.first().map(|(at, _)| *at);
        if self.ready.is_empty() {
            return time;
        }
        if self.may_begin(now) {
            return Some(now);
        }
        let begun = self.turns.iter().map(|(_, since)| *since + self.limits.stalled);
        let stalls = begun.filter(|at| *at > now).min();
        time.into_iter().chain(stalls).min()
    }

    fn may_begin(&self, now: Instant) -> bool {
        let stalled = |since: Instant| since + self.limits.stalled <= now;
        self.turns.iter().filter(|(_, since)| !stalled(*since)).count() < self.limits.at_once
    }

    fn come_due(&mut self, now: Instant) {
        while let Some((at, task)) = self.times.first().copied()
            && at <= now
        {
            self.times.remove(&(at, task));
            if let Some(there) = self.tasks.get_mut(&task) {
                there.status = Status::Ready;
                self.ready.push_back(task);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
#[expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests;
