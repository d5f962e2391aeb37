//! Who takes the next turn, and which thread is to do what: decisions only, so that they
//! can be gone through one by one.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::next::Next;

/// Names a piece of work.
pub(crate) type TaskId = u64;

/// The bounds of a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How many turns are taken at once, besides stalled ones.
    pub(crate) at_once: usize,
    /// How many threads there are at most.
    pub(crate) threads: usize,
    /// A turn that lasts longer than this is waiting for its disk, or as good as that.
    pub(crate) stalled: Duration,
    /// How long a thread stays that has nothing to do.
    pub(crate) idle: Duration,
}

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
    }

    /// A thread that was to be started will not come.
    pub(super) fn not_started(&mut self) {
        self.coming -= 1;
        self.threads -= 1;
    }

    pub(super) fn has_threads(&self) -> bool {
        self.threads > 0
    }

    /// What has to be done so that nothing is left lying: for who calls, or has taken a turn
    /// on itself.
    pub(super) fn help(&mut self, now: Instant) -> Help<T> {
        // Who is coming looks around and asks for more help itself.
        if self.coming > 0 || self.is_minded(self.due(now)) {
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
            self.threads += 1;
            return Help::Start;
        }
        // Whichever turn ends first.
        Help::None
    }

    /// Whether a thread wakes by then of its own accord.
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
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        at_once: 2,
        threads: 6,
        stalled: Duration::from_millis(5),
        idle: Duration::from_millis(1_000),
    };
    const TASKS: u64 = 12;

    /// Threads that exist in name only, on a clock of their own.
    struct Pretended {
        plan: Schedule<TaskId, usize>,
        now: Instant,
        threads: Vec<Thread>,
        chance: u64,
        /// Turns begun and ended, by task.
        begun: HashMap<TaskId, u64>,
        /// Calls that are owed a turn: by task, how many had begun then.
        owed: HashMap<TaskId, u64>,
        most_at_once: usize,
    }

    struct Thread {
        doing: Doing,
        last_turn: Instant,
    }

    #[derive(Clone, Copy)]
    enum Doing {
        Coming,
        Looking,
        Asleep(SleepId, Option<Instant>),
        Woken(SleepId),
        InTurn(TaskId, Instant),
        Gone,
    }

    impl Pretended {
        fn new(seed: u64) -> Self {
            Self {
                plan: Schedule::new(LIMITS),
                now: Instant::now(),
                threads: Vec::new(),
                chance: seed.wrapping_mul(2) + 1,
                begun: HashMap::new(),
                owed: HashMap::new(),
                most_at_once: 0,
            }
        }

        fn draw(&mut self, below: u64) -> u64 {
            self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            (self.chance >> 33) % below
        }

        fn give(&mut self, help: Help<usize>) {
            match help {
                Help::None => {}
                Help::Wake(thread) => {
                    if let Doing::Asleep(sleep, _) = self.threads[thread].doing {
                        self.threads[thread].doing = Doing::Woken(sleep);
                    }
                }
                Help::Start => {
                    self.threads.push(Thread { doing: Doing::Coming, last_turn: self.now });
                }
            }
        }

        fn call(&mut self, task: TaskId) {
            self.plan.call(task);
            self.owed.insert(task, self.begun.get(&task).copied().unwrap_or(0));
            let help = self.plan.help(self.now);
            self.give(help);
        }

        fn add(&mut self, task: TaskId) {
            self.plan.add(task, task);
            self.owed.insert(task, 0);
            let help = self.plan.help(self.now);
            self.give(help);
        }

        /// One thing that some thread does now, if there is any.
        fn step(&mut self) -> bool {
            let now = self.now;
            let able = |thread: &Thread| match thread.doing {
                Doing::Coming | Doing::Looking | Doing::Woken(_) => true,
                Doing::Asleep(_, until) => until.is_some_and(|until| until <= now),
                Doing::InTurn(_, until) => until <= now,
                Doing::Gone => false,
            };
            let threads = self.threads.iter().enumerate();
            let able: Vec<_> = threads.filter(|(_, t)| able(t)).map(|(n, _)| n).collect();
            if able.is_empty() {
                return false;
            }
            let thread = able[self.draw(able.len() as u64) as usize];
            match self.threads[thread].doing {
                Doing::Coming => {
                    self.plan.came();
                    self.threads[thread].doing = Doing::Looking;
                }
                Doing::Asleep(sleep, _) | Doing::Woken(sleep) => {
                    self.plan.awake(sleep);
                    self.threads[thread].doing = Doing::Looking;
                }
                Doing::InTurn(task, _) => {
                    let next = match self.draw(4) {
                        0 => Next::Again,
                        1 => Next::Wait(None),
                        _ => Next::Wait(Some(now + Duration::from_millis(self.draw(50)))),
                    };
                    assert!(self.plan.turned(task, task, next, now).is_none());
                    self.threads[thread] = Thread { doing: Doing::Looking, last_turn: now };
                }
                Doing::Looking => self.look(thread),
                Doing::Gone => {}
            }
            true
        }

        fn look(&mut self, thread: usize) {
            let last_turn = self.threads[thread].last_turn;
            self.threads[thread].doing = match self.plan.next(&thread, self.now, last_turn) {
                Do::Turn(task, work) => {
                    assert_eq!(task, work);
                    let taken =
                        |t: &Thread| matches!(t.doing, Doing::InTurn(other, _) if other == task);
                    assert!(!self.threads.iter().any(taken), "two turns at once");
                    let count = self.begun.entry(task).or_default();
                    *count += 1;
                    if self.owed.get(&task).is_some_and(|had| *count > *had) {
                        self.owed.remove(&task);
                    }
                    let help = self.plan.help_before_turn(self.now);
                    self.give(help);
                    // One in four waits for its disk.
                    let long = if self.draw(4) == 0 { 400 } else { 4 };
                    Doing::InTurn(task, self.now + Duration::from_millis(self.draw(long)))
                }
                Do::Sleep(sleep, until) => Doing::Asleep(sleep, until),
                Do::End => Doing::Gone,
            };
        }

        /// Lets all happen that does now, where each turn stalls.
        fn go_on_stalling(&mut self) {
            while self.step() {
                for thread in &mut self.threads {
                    if let Doing::InTurn(task, _) = thread.doing {
                        thread.doing = Doing::InTurn(task, self.now + Duration::from_secs(2));
                    }
                }
            }
        }

        /// What has to be true when no thread has anything to do at this time.
        fn check(&mut self) {
            let living = self.threads.iter().filter(|t| !matches!(t.doing, Doing::Gone)).count();
            let since = |t: &Thread| match t.doing {
                Doing::InTurn(task, _) => Some(task),
                _ => None,
            };
            let in_turn = self.threads.iter().filter_map(since).count();
            assert_eq!(living, self.plan.threads);
            assert_eq!(in_turn, self.plan.turns.len());
            assert!(living <= LIMITS.threads);
            let stalled = |(_, since): &&(TaskId, Instant)| *since + LIMITS.stalled <= self.now;
            let going = in_turn - self.plan.turns.iter().filter(stalled).count();
            self.most_at_once = self.most_at_once.max(going);
            let busy = going >= LIMITS.at_once || in_turn == LIMITS.threads;
            assert!(busy || self.plan.ready.is_empty(), "somebody is left standing");
            let late = self.plan.times.first().is_some_and(|(at, _)| *at <= self.now);
            assert!(!late || in_turn == LIMITS.threads, "a time was missed");
            assert!(
                living > in_turn || in_turn == LIMITS.threads,
                "who calls would have to start one"
            );
        }

        /// Lets all happen that does until then.
        fn pass(&mut self, time: Duration) {
            let end = self.now + time;
            loop {
                while self.step() {}
                self.check();
                let next = self.threads.iter().filter_map(|thread| match thread.doing {
                    Doing::Asleep(_, until) => until,
                    Doing::InTurn(_, until) => Some(until),
                    _ => None,
                });
                match next.min() {
                    Some(next) if next <= end => self.now = next,
                    _ => break self.now = end,
                }
            }
        }
    }

    /// Calls, times and stalls in any order: each call gets a turn that begins after it, no
    /// time is missed while there is a thread for it, and no more go on at once than may.
    #[test]
    fn nobody_is_left_standing_in_a_pool() {
        for seed in 0..if cfg!(miri) { 3 } else { 300 } {
            let mut pool = Pretended::new(seed);
            (1..=TASKS).for_each(|task| pool.add(task));
            for _ in 0..100 {
                for _ in 0..pool.draw(4) {
                    let task = 1 + pool.draw(TASKS);
                    pool.call(task);
                    // Between any two things that threads do.
                    for _ in 0..pool.draw(6) {
                        pool.step();
                    }
                }
                let time = Duration::from_millis(pool.draw(30));
                pool.pass(time);
            }
            pool.pass(Duration::from_secs(60));
            assert_eq!(pool.owed, HashMap::new(), "seed {seed}");
            assert!(pool.most_at_once <= LIMITS.at_once, "seed {seed}");
        }
    }

    #[test]
    fn a_pool_grows_while_turns_stall_and_shrinks_to_one_thread() {
        let mut pool = Pretended::new(1);
        for task in 1..=4 {
            pool.add(task);
        }
        pool.go_on_stalling();
        assert_eq!(pool.plan.turns.len(), LIMITS.at_once);
        pool.now += LIMITS.stalled;
        pool.go_on_stalling();
        assert_eq!(pool.plan.turns.len(), 4);
        // They end, and wait for nothing but a call.
        for thread in 0..pool.threads.len() {
            if let Doing::InTurn(task, _) = pool.threads[thread].doing {
                assert!(pool.plan.turned(task, task, Next::Wait(None), pool.now).is_none());
                pool.threads[thread] = Thread { doing: Doing::Looking, last_turn: pool.now };
            }
        }
        pool.pass(LIMITS.idle * 3);
        assert_eq!(pool.plan.threads, 1);
    }

    #[test]
    fn who_is_called_in_a_turn_takes_another_and_who_has_ended_none() {
        let now = Instant::now();
        let mut plan: Schedule<&str, ()> = Schedule::new(LIMITS);
        plan.add(1, "work");
        assert!(matches!(plan.help(now), Help::Start));
        plan.came();
        assert!(matches!(plan.next(&(), now, now), Do::Turn(1, "work")));
        plan.call(1);
        assert!(plan.turned(1, "work", Next::Wait(None), now).is_none());
        assert!(matches!(plan.next(&(), now, now), Do::Turn(1, "work")));
        plan.call(1);
        assert_eq!(plan.turned(1, "work", Next::Over, now), Some("work"));
        plan.call(1);
        assert!(matches!(plan.help(now), Help::None));
        assert!(matches!(plan.next(&(), now, now), Do::Sleep(_, None)));
    }
}
