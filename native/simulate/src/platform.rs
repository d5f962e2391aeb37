//! What the processes of a history run on: a disk, a clock, and their lives.
//!
//! One a thread at a time. SQLite and the store reach it through the thread, since what
//! they hold may not name it: a system has to be `Send`, and a platform is not.
//!
//! Each operation passes the *gate*. There time goes on, and the *hook* may let others run
//! before the operation goes on, may have it fail, and may end the process that asked.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use shape_store::Holder as Owner;

use crate::{
    chance::{Chance, mix},
    disk::{Disk, Holder, Key},
    shared_memory::Region,
};

mod holdings;
mod processes;

/// How many processes there may be at a time.
pub const SLOTS: usize = 3;

/// A process, in the life of a platform: one that is started again is another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProcessId(pub usize);

/// What is asked of the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "they are what they are called")]
pub enum Kind {
    Open,
    Read,
    Write,
    Sync,
    Cut,
    Delete,
    Look,
    Lock,
    Map,
    Sleep,
    Rename,
    SyncFolder,
    Flock,
}

/// An operation on its way.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    /// Who asks.
    pub process: ProcessId,
    /// For what.
    pub kind: Kind,
    /// On what.
    pub path: &'a str,
}

/// How an operation fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The device reports an error.
    Io,
    /// There is no room.
    Full,
    /// Half of it is done, and an error reported.
    Half,
    /// The process is no more.
    Dead,
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        io::Error::from_raw_os_error(match fault {
            Fault::Full => libc::ENOSPC,
            _ => libc::EIO,
        })
    }
}

/// What may happen at an operation.
pub type Hook = Rc<dyn Fn(&Operation<'_>) -> Option<Fault>>;

/// What the processes of a history run on.
pub struct Platform {
    /// Which one, of all in this program.
    pub(crate) id: u64,
    /// The disk. Not borrowed over an operation's gate.
    pub disk: RefCell<Disk>,
    base: Instant,
    nanoseconds: Cell<u64>,
    random: RefCell<Chance>,
    processes: RefCell<Vec<Process>>,
    slots: [Cell<Option<ProcessId>>; SLOTS],
    holders: Cell<Holder>,
    hook: RefCell<Option<Hook>>,
    operations: Cell<u64>,
    /// How many more reads there may be that do not wait, if others are not to be made.
    no_wait: Cell<Option<u32>>,
    /// How many writers are busy.
    pub(crate) busy_writers: Arc<AtomicUsize>,
    violations: RefCell<Vec<String>>,
    notes: RefCell<Vec<&'static str>>,
}

struct Process {
    alive: bool,
    folder: String,
    /// What it has open.
    held: BTreeMap<Holder, Key>,
    /// For each database, its `-shm` and how many of its connections use it.
    pub(crate) nodes: BTreeMap<Key, (Key, usize)>,
    mapped: Vec<Rc<Region>>,
    claims: BTreeMap<String, Arc<Owner>>,
    /// For each call into it that is going on, what the memory it shares with others was
    /// when it was found dead: what it does to it after that never happened.
    frames: Vec<Option<Copies>>,
}

type Copies = Vec<(Rc<Region>, Box<[u64; 4096]>)>;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Platform>>> = const { RefCell::new(None) };
}

impl Platform {
    /// A new one, which is this thread's until the next.
    pub fn install(seed: u64) -> Rc<Self> {
        use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
        // Relaxed: only the number's uniqueness matters.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let platform = Rc::new(Self {
            id: NEXT.fetch_add(1, Relaxed),
            disk: RefCell::default(),
            base: Instant::now(),
            nanoseconds: Cell::new(0),
            random: RefCell::new(Chance::new(mix(seed, 0x7a11))),
            processes: RefCell::default(),
            slots: [const { Cell::new(None) }; SLOTS],
            holders: Cell::new(1),
            hook: RefCell::default(),
            operations: Cell::new(0),
            no_wait: Cell::new(None),
            busy_writers: Arc::default(),
            violations: RefCell::default(),
            notes: RefCell::default(),
        });
        CURRENT.set(Some(Rc::clone(&platform)));
        platform
    }

    /// This thread's.
    pub fn current() -> Option<Rc<Self>> {
        CURRENT.with_borrow(Option::clone)
    }

    /// This thread has none any more.
    pub fn uninstall() {
        CURRENT.set(None);
    }

    /// What may happen at each operation from now on.
    pub fn set_hook(&self, hook: Option<Hook>) {
        *self.hook.borrow_mut() = hook;
    }

    // --- time and chance

    /// The time since the platform began.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.get())
    }

    /// The time, as a process reads it: later each time.
    pub fn now(&self) -> Instant {
        self.advance(Duration::from_nanos(100));
        self.base + self.elapsed()
    }

    /// The time that `now` gives after so much of it.
    pub fn at(&self, elapsed: Duration) -> Instant {
        self.base + elapsed
    }

    /// How long after the beginning an instant is.
    pub fn since_base(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.base)
    }

    /// Time passes.
    pub fn advance(&self, by: Duration) {
        self.nanoseconds.set(self.nanoseconds.get() + by.as_nanos() as u64);
    }

    /// A number that nobody else drew.
    pub fn random(&self) -> u64 {
        self.random.borrow_mut().draw()
    }

    /// How many operations there were.
    pub fn operations(&self) -> u64 {
        self.operations.get()
    }

    // --- operations

    /// The gate that each operation passes before it is done.
    pub fn gate(&self, process: ProcessId, kind: Kind, path: &str) -> Result<(), Fault> {
        self.check(process)?;
        // Whoever runs meanwhile may wait.
        let no_wait = self.no_wait.take();
        // Where a file came by its log after the connection was opened, its name is looked up.
        let is_brief = matches!(kind, Kind::Lock | Kind::Map | Kind::Look | Kind::Open);
        if no_wait.is_some() && !is_brief {
            self.violate(format!("{kind:?} of {path} where nothing is to wait"));
        }
        let passed = self.pass(process, kind, path);
        self.no_wait.set(no_wait);
        passed
    }

    fn pass(&self, process: ProcessId, kind: Kind, path: &str) -> Result<(), Fault> {
        self.operations.set(self.operations.get() + 1);
        self.advance(Duration::from_micros(match kind {
            Kind::Sync | Kind::SyncFolder => 300,
            Kind::Read | Kind::Write => 10,
            _ => 3,
        }));
        let hook = self.hook.borrow().clone();
        let Some(hook) = hook else { return Ok(()) };
        let operation = Operation { process, kind, path };
        // It may not unwind through SQLite.
        let fault = catch_unwind(AssertUnwindSafe(|| hook(&operation))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            self.violate(format!("a panic: {}", text.unwrap_or_default()));
            Some(Fault::Io)
        });
        self.check(process)?;
        match fault {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    /// Runs `work`, in which so many reads are of what the system has in memory, and no
    /// operation waits.
    pub(crate) fn without_waiting(&self, reads: u32, work: &mut dyn FnMut()) {
        let before = self.no_wait.replace(Some(reads));
        work();
        self.no_wait.set(before);
    }

    /// Whether the system has in memory what is read; none where a read may wait.
    pub(crate) fn reads_memory(&self) -> Option<bool> {
        let left = self.no_wait.get()?;
        self.no_wait.set(Some(left.saturating_sub(1)));
        Some(left > 0 && !self.random().is_multiple_of(4))
    }

    /// Whether the process may do anything at all.
    pub(crate) fn check(&self, process: ProcessId) -> Result<(), Fault> {
        if self.is_alive(process) {
            return Ok(());
        }
        let first = self.with(process, |process| matches!(process.frames.last(), Some(None)));
        if first {
            let copies = self.copies(process);
            self.with(process, |process| {
                if let Some(frame) = process.frames.last_mut() {
                    *frame = Some(copies);
                }
            });
        }
        Err(Fault::Dead)
    }

    // --- what nobody may do

    /// Notes that somebody broke a rule of the platform.
    pub fn violate(&self, text: String) {
        self.violations.borrow_mut().push(text);
    }

    /// Notes what is worth counting.
    pub fn note(&self, what: &'static str) {
        self.notes.borrow_mut().push(what);
    }

    /// What was noted since the last look.
    pub fn take_notes(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.notes.borrow_mut())
    }

    /// The rules broken since the last look.
    pub fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut self.violations.borrow_mut())
    }
}
