//! The threads that run the writers of all stores of the process, and others that do their
//! work in the background.
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
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex, MutexGuard};

pub use self::next::Next;
use self::schedule::{Do, Help, Schedule};

/// Names a piece of work.
type TaskId = u64;

/// The bounds of a pool.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// How many turns are taken at once, besides stalled ones.
    at_once: usize,
    /// How many threads there are at most.
    threads: usize,
    /// A turn that lasts longer than this is waiting for its disk, or as good as that.
    stalled: Duration,
    /// How long a thread stays that has nothing to do.
    idle: Duration,
}

impl Limits {
    fn of_machine() -> Self {
        let processors = thread::available_parallelism().map_or(2, |n| n.get());
        Self {
            // With one, a turn that computes for long would hold up all others.
            at_once: processors.max(2),
            threads: (4 * processors).max(64),
            stalled: Duration::from_millis(5),
            idle: Duration::from_secs(5),
        }
    }
}

/// What takes turns.
pub(crate) trait Work: Send {
    /// Goes on until it waits for something, or for long enough.
    fn turn(&mut self) -> Next;
}

/// To wake a thread takes some 20 µs, which is longer than to read a body.
const LINGER: Duration = Duration::from_micros(50);

type Plan = Schedule<Box<dyn Work>, Arc<Wakeup>>;

/// Wakes a thread.
#[derive(Default)]
struct Wakeup {
    condvar: Condvar,
    /// For one that looks before it sleeps.
    called: AtomicBool,
}

impl Wakeup {
    fn wake(&self) {
        // Only a hint to one that looks out: the plan says whether it was woken.
        self.called.store(true, Relaxed);
        self.condvar.notify_one();
    }

    /// Until it is called, or this time; lets others have the processor.
    fn look_out(&self, until: Instant) {
        while !self.called.load(Relaxed) && Instant::now() < until {
            thread::yield_now();
        }
    }
}

/// A pool; clones are the same one.
#[derive(Clone)]
pub(crate) struct Pool {
    plan: Arc<Mutex<Plan>>,
    /// The name of its threads.
    name: &'static str,
    /// How long a thread that had a turn looks out for the next before it sleeps. To be woken
    /// takes longer than a short turn.
    linger: Duration,
    /// Whether one does.
    lingers: Arc<AtomicBool>,
}

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
    fn new(name: &'static str, linger: Duration) -> Self {
        let plan = Schedule::new(Limits::of_machine());
        Self { plan: Arc::new(Mutex::new(plan)), name, linger, lingers: Arc::default() }
    }

    /// The pool of the writers of this process, which lasts as long as the process.
    pub(crate) fn of_writers() -> &'static Self {
        static POOL: OnceLock<Pool> = OnceLock::new();
        POOL.get_or_init(|| Self::new("shape_db_writer", Duration::ZERO))
    }

    /// The one for what is done in the background. It is another, so that neither waits for
    /// threads that the other has at a stalled disk.
    pub(crate) fn of_background() -> &'static Self {
        static POOL: OnceLock<Pool> = OnceLock::new();
        POOL.get_or_init(|| Self::new("shape_db_reader", LINGER))
    }

    /// Has a thread there from now on.
    pub(crate) fn start(&self) -> io::Result<()> {
        if self.plan.lock().has_threads() {
            return Ok(());
        }
        self.run(Box::new(Nothing), drop)
    }

    /// Takes a piece of work in, whose first turn comes at once. Before that, `known` is told
    /// how to call it. Gives an error when there is no thread for it.
    pub(crate) fn run(&self, work: Box<dyn Work>, known: impl FnOnce(Call)) -> io::Result<()> {
        let task = self.plan.lock().number();
        known(Call { pool: self.clone(), task });
        let help = {
            let mut plan = self.plan.lock();
            plan.add(task, work);
            plan.help(Instant::now())
        };
        match self.give(help) {
            // Some thread comes to it later.
            Err(_) if self.plan.lock().has_threads() => Ok(()),
            Err(error) => {
                let _unrun = self.plan.lock().take_out(task);
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    fn help(&self, decide: impl FnOnce(&mut Plan) -> Help<Arc<Wakeup>>) {
        let help = decide(&mut self.plan.lock());
        // Without another thread those that are there come to it later.
        let _ = self.give(help);
    }

    fn give(&self, help: Help<Arc<Wakeup>>) -> io::Result<()> {
        match help {
            Help::None => Ok(()),
            Help::Wake(thread) => {
                thread.wake();
                Ok(())
            }
            Help::Start => {
                let pool = self.clone();
                let thread = thread::Builder::new().name(self.name.into());
                let started = thread.spawn(move || pool.work());
                started.map(drop).inspect_err(|_| self.plan.lock().not_started())
            }
        }
    }

    /// The life of a thread.
    fn work(&self) {
        let wakeup = Arc::<Wakeup>::default();
        let mut plan = self.plan.lock();
        plan.came();
        let mut last_turn = Instant::now();
        loop {
            let now = Instant::now();
            wakeup.called.store(false, Relaxed);
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
                    let lingers = last_turn + self.linger;
                    if now < lingers && !self.lingers.swap(true, Relaxed) {
                        MutexGuard::unlocked(&mut plan, || wakeup.look_out(lingers));
                        self.lingers.store(false, Relaxed);
                    }
                    if plan.is_asleep(sleep) {
                        match until {
                            Some(until) => drop(wakeup.condvar.wait_until(&mut plan, until)),
                            None => wakeup.condvar.wait(&mut plan),
                        }
                    }
                    plan.awake(sleep);
                }
                Do::End => return,
            }
        }
    }
}

struct Nothing;

impl Work for Nothing {
    fn turn(&mut self) -> Next {
        Next::Over
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
