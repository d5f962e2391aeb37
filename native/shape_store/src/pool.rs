//! The threads that run the writers of all stores of the process.
//!
//! A writer that waits has no thread. One that was called, or whose time has come, stands in
//! line, and a thread of the pool lets it take a turn. As many take turns at once as the
//! machine has processors. But a turn may wait for its disk: one that lasts longer than
//! [`Limits::stalled`] counts no more, and another thread begins, up to [`Limits::threads`].
//! Threads that have had nothing to do for [`Limits::idle`] end, but for one, which minds the
//! times.
//!
//! Who is to do what when is decided in [`Schedule`], behind one lock that is never held
//! during a turn.

mod next;
mod schedule;

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex, MutexGuard};

pub use self::next::Next;
use self::schedule::{Do, Help, Schedule};
pub(crate) use self::schedule::{Limits, TaskId};

/// What takes turns.
pub(crate) trait Work: Send {
    /// Goes on until it waits for something, or for long enough.
    fn turn(&mut self) -> Next;
}

type Plan = Schedule<Box<dyn Work>, Arc<Condvar>>;

/// A pool; clones are the same one.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Mutex<Plan>>);

/// Has one of a pool's writers come and look.
pub(crate) struct Call {
    pool: Pool,
    task: TaskId,
}

impl Call {
    /// It takes a turn that begins after this, if it has not ended.
    pub(crate) fn call(&self) {
        self.pool.help(|plan| {
            plan.call(self.task);
            plan.help(Instant::now())
        });
    }
}

impl Pool {
    pub(crate) fn new(limits: Limits) -> Self {
        Self(Arc::new(Mutex::new(Schedule::new(limits))))
    }

    /// The pool of this process, which lasts as long as the process.
    pub(crate) fn of_process() -> &'static Self {
        static POOL: OnceLock<Pool> = OnceLock::new();
        POOL.get_or_init(|| {
            let processors = thread::available_parallelism().map_or(2, |n| n.get());
            Self::new(Limits {
                // With one, a turn that computes for long would hold up all others.
                at_once: processors.max(2),
                threads: (4 * processors).max(64),
                stalled: Duration::from_millis(5),
                idle: Duration::from_secs(5),
            })
        })
    }

    /// Takes a piece of work in, whose first turn comes at once. Before that, `known` is told
    /// how to call it. Gives an error when there is no thread for it.
    pub(crate) fn run(&self, work: Box<dyn Work>, known: impl FnOnce(Call)) -> io::Result<()> {
        let task = self.0.lock().number();
        known(Call { pool: self.clone(), task });
        let help = {
            let mut plan = self.0.lock();
            plan.add(task, work);
            plan.help(Instant::now())
        };
        match self.give(help) {
            // Some thread comes to it later.
            Err(_) if self.0.lock().has_threads() => Ok(()),
            Err(error) => {
                let _unrun = self.0.lock().take_out(task);
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    fn help(&self, decide: impl FnOnce(&mut Plan) -> Help<Arc<Condvar>>) {
        let help = decide(&mut self.0.lock());
        // Without another thread those that are there come to it later.
        let _ = self.give(help);
    }

    fn give(&self, help: Help<Arc<Condvar>>) -> io::Result<()> {
        match help {
            Help::None => Ok(()),
            Help::Wake(thread) => {
                thread.notify_one();
                Ok(())
            }
            Help::Start => {
                let pool = self.clone();
                let thread = thread::Builder::new().name("shape_db_writer".into());
                let started = thread.spawn(move || pool.work());
                started.map(drop).inspect_err(|_| self.0.lock().not_started())
            }
        }
    }

    /// The life of a thread.
    fn work(&self) {
        let wakeup = Arc::new(Condvar::new());
        let mut plan = self.0.lock();
        plan.came();
        let mut last_turn = Instant::now();
        loop {
            let now = Instant::now();
            match plan.next(&wakeup, now, last_turn) {
                Do::Turn(task, mut work) => {
                    let help = plan.help_before_turn(now);
                    let next = MutexGuard::unlocked(&mut plan, || {
                        let _ = self.give(help);
                        turn(&mut work)
                    });
                    last_turn = Instant::now();
                    let ended = plan.turned(task, work, next, last_turn);
                    // Dropped without the lock: there may be much to free.
                    MutexGuard::unlocked(&mut plan, || end(ended));
                }
                Do::Sleep(sleep, until) => {
                    match until {
                        Some(until) => drop(wakeup.wait_until(&mut plan, until)),
                        None => wakeup.wait(&mut plan),
                    }
                    plan.awake(sleep);
                }
                Do::End => return,
            }
        }
    }
}

/// A panic ends what it came from, and nothing else. A writer lets none out; this is for what
/// is around it.
fn turn(work: &mut Box<dyn Work>) -> Next {
    catch_unwind(AssertUnwindSafe(|| work.turn())).unwrap_or(Next::Over)
}

fn end(work: Option<Box<dyn Work>>) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(work)));
}
