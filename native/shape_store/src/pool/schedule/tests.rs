use std::time::Duration;

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
        assert!(living > in_turn || in_turn == LIMITS.threads, "who calls would have to start one");
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
