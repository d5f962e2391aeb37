//! A history while it goes on: processes with stores, and whoever calls them.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::{Rc, Weak},
    sync::{
        Arc,
        // Relaxed: a switch that guards nothing else.
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use shape_store::{Lease, Location, Machine, Next, Options, State, Store, Ticket, Waiting};

use crate::{
    action,
    chance::{Chance, mix},
    config::Config,
    failure::{Class, Failure},
    model::{Held, Model, STRANGER, Shape, View},
    platform::{Fault, Kind, Operation, Platform, ProcessId},
    promise::{Awaited, Promise},
    system::Simulated,
    vfs,
};

/// Where the database is.
pub const DATABASE: &str = "/data/meta/shapes.sqlite";

/// How deep others may run within each other's operations.
const DEEPEST: usize = 3;

/// More operations than any history should need.
const MOST_OPERATIONS: u64 = 400_000;

static TRACES: AtomicBool = AtomicBool::new(false);

/// Has each operation on the disk in the printed history.
pub fn trace_operations() {
    TRACES.store(true, Relaxed);
}

thread_local! {
    static CURRENT: RefCell<Weak<World>> = const { RefCell::new(Weak::new()) };
}

/// A store of a process.
pub(crate) struct Instance {
    pub(crate) process: ProcessId,
    pub(crate) store: Option<Store>,
    pub(crate) machine: Option<Machine>,
    pub(crate) stepping: bool,
    pub(crate) wake: Wake,
    /// Whether it left what has arrived where it is: while it opens, it looks at nothing.
    pub(crate) busy: bool,
    /// Its last event.
    pub(crate) ended: Option<String>,
    pub(crate) open_failed: bool,
    pub(crate) opened: bool,
    /// The durable number that it closed with.
    pub(crate) closed_at: Option<u64>,
    pub(crate) fenced: bool,
    /// Whether it said that it was promoted, and nobody has looked yet.
    pub(crate) promoted: bool,
    /// The highest number that was asked to be flushed in the end.
    pub(crate) flushed: u64,
    spins: usize,
    /// How often the file had been tampered with when its machine began its step.
    tampers: u64,
    pub(crate) reigns: Vec<usize>,
    pub(crate) reign: Option<usize>,
    /// The highest number whose end is known.
    pub(crate) probed: u64,
    pub(crate) given_up: BTreeSet<u64>,
    /// The highest number there is, and the highest that somebody was given.
    pub(crate) last: u64,
    pub(crate) taken: u64,
    pub(crate) rows: BTreeSet<u64>,
    pub(crate) leases: Vec<Lease>,
    pub(crate) tickets: Vec<(usize, Ticket)>,
    pub(crate) waits: Vec<(usize, shape_store::WaitId)>,
    pub(crate) paused: bool,
}

/// When a machine has something to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wake {
    Now,
    At(Duration),
    Mail,
    Never,
}

/// A history while it goes on.
pub struct World {
    pub(crate) platform: Rc<Platform>,
    pub(crate) config: Config,
    pub(crate) instances: RefCell<Vec<Instance>>,
    pub(crate) model: RefCell<Model>,
    pub(crate) promises: RefCell<Vec<Promise>>,
    /// Copies of the database that somebody made, with its log.
    pub(crate) copies: RefCell<Vec<(Vec<u8>, Vec<u8>)>>,
    /// The step that is being made, and the decisions taken at operations within it.
    step: Cell<usize>,
    step_seed: Cell<u64>,
    decisions: Cell<u64>,
    muted: BTreeSet<(usize, u64)>,
    fired: RefCell<Vec<(usize, u64)>>,
    depth: Cell<usize>,
    /// Whether somebody began to replace the file and did not finish.
    pub(crate) replacing: Cell<bool>,
    /// Whether nothing fails and nobody runs within an operation.
    pub(crate) calm: Cell<bool>,
    verbose: bool,
    log: RefCell<Vec<String>>,
    counts: RefCell<BTreeMap<&'static str, u64>>,
    failures: RefCell<Vec<Failure>>,
}

impl World {
    /// A world with nobody in it.
    pub fn new(
        seed: u64,
        config: Config,
        muted: BTreeSet<(usize, u64)>,
        verbose: bool,
    ) -> Rc<Self> {
        let platform = Platform::install(seed);
        let world = Rc::new(Self {
            platform,
            config,
            instances: RefCell::default(),
            model: RefCell::default(),
            promises: RefCell::default(),
            copies: RefCell::default(),
            step: Cell::new(0),
            step_seed: Cell::new(0),
            decisions: Cell::new(0),
            muted,
            fired: RefCell::default(),
            depth: Cell::new(0),
            replacing: Cell::new(false),
            calm: Cell::new(false),
            verbose,
            log: RefCell::default(),
            counts: RefCell::default(),
            failures: RefCell::default(),
        });
        CURRENT.set(Rc::downgrade(&world));
        let hooked = Rc::downgrade(&world);
        world.platform.set_hook(Some(Rc::new(move |operation| hooked.upgrade()?.at(operation))));
        world
    }

    /// This thread's.
    pub fn current() -> Option<Rc<Self>> {
        CURRENT.with_borrow(Weak::upgrade)
    }

    // --- what is noted

    /// Notes a line of the history.
    pub(crate) fn say(&self, line: impl FnOnce() -> String) {
        if self.verbose {
            let indent = "  ".repeat(self.depth.get());
            let time = self.platform.elapsed().as_secs_f64() * 1000.0;
            self.log.borrow_mut().push(format!("{time:>12.3} {indent}{}", line()));
        }
    }

    /// Counts something that happened.
    pub(crate) fn count(&self, what: &'static str) {
        *self.counts.borrow_mut().entry(what).or_default() += 1;
    }

    /// Notes a promise that was broken.
    pub(crate) fn fail(&self, failure: Failure) {
        self.say(|| format!("!!! {}: {}", failure.what, failure.text));
        if failure.is_ignored() {
            return self.count("failures passed over");
        }
        self.failures.borrow_mut().push(failure);
    }

    pub(crate) fn wrong(&self, what: &'static str, text: impl Into<String>) {
        self.fail(Failure::new(Class::Wrong, what, text));
    }

    /// What was noted, in the end.
    pub(crate) fn take_notes(&self) -> Notes {
        for text in self.platform.take_violations() {
            self.wrong("a rule of the system is broken", text);
        }
        self.platform.take_notes().into_iter().for_each(|what| self.count(what));
        Notes {
            failures: self.failures.take(),
            counts: self.counts.take(),
            log: self.log.take(),
            fired: self.fired.take(),
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        !self.failures.borrow().is_empty()
    }

    // --- steps, and what happens within operations

    /// Makes a step of the history.
    pub(crate) fn make_step(&self, number: usize, seed: u64) {
        self.step.set(number);
        self.step_seed.set(seed);
        self.decisions.set(0);
        let mut chance = Chance::new(seed);
        let kind = action::Kind::draw(&mut chance, &self.config.weights);
        self.perform(kind, &mut chance);
        self.reap();
        self.look_at_all();
    }

    /// What happens at an operation: others run, time passes, it fails.
    fn at(&self, operation: &Operation<'_>) -> Option<Fault> {
        if self.platform.operations() > MOST_OPERATIONS {
            if !self.has_failed() {
                self.fail(Failure::new(
                    Class::Stuck,
                    "operations without end",
                    format!("{operation:?}"),
                ));
            }
            return Some(Fault::Io);
        }
        if self.verbose && TRACES.load(Relaxed) {
            self.say(|| {
                format!(
                    ". {:?} {} by process {}",
                    operation.kind, operation.path, operation.process.0
                )
            });
        }
        if self.calm.get() {
            return None;
        }
        let number = self.decisions.get();
        self.decisions.set(number + 1);
        let mut chance = Chance::new(mix(self.step_seed.get(), number));
        let sleeps = operation.kind == Kind::Sleep;
        let runs = match self.config.nested {
            Some(_) if sleeps => chance.one_in(2),
            Some(often) => chance.one_in(often),
            None => sleeps && chance.one_in(8),
        };
        let may_fail = !sleeps && (operation.kind != Kind::Flock || self.config.lock_faults);
        let fails = may_fail && self.config.faults.is_some_and(|often| chance.one_in(often));
        if !(runs || fails) || self.muted.contains(&(self.step.get(), number)) {
            return None;
        }
        self.fired.borrow_mut().push((self.step.get(), number));
        if runs && self.depth.get() < DEEPEST {
            self.say(|| {
                format!(
                    "during {:?} of {} by process {}:",
                    operation.kind, operation.path, operation.process.0
                )
            });
            self.depth.set(self.depth.get() + 1);
            for _ in 0..1 + chance.below(3) {
                let kind = action::Kind::draw_nested(&mut chance, &self.config.weights);
                self.perform(kind, &mut chance);
                self.reap();
            }
            if chance.one_in(6) {
                self.count("stalls");
                self.stall(operation, &mut chance);
            }
            self.depth.set(self.depth.get() - 1);
        }
        if !fails {
            return None;
        }
        let fault = chance.pick(&[Fault::Io, Fault::Io, Fault::Full, Fault::Half]);
        self.count(match (operation.kind, fault) {
            (Kind::Read, _) => "read errors",
            (Kind::Write, Fault::Full) => "full disks",
            _ => "I/O errors",
        });
        self.say(|| {
            format!(
                "{fault:?} at {:?} of {} by process {}",
                operation.kind, operation.path, operation.process.0
            )
        });
        Some(fault)
    }

    /// An operation takes long: everybody else goes on.
    fn stall(&self, operation: &Operation<'_>, chance: &mut Chance) {
        let long = Duration::from_millis(chance.pick(&[5, 50, 300, 2000, 12_000]));
        let until = self.platform.elapsed() + long;
        self.say(|| format!("it stalls for {long:?}"));
        for _ in 0..60 {
            if self.platform.elapsed() >= until || !self.platform.is_alive(operation.process) {
                break;
            }
            self.step_whoever_is_due();
            let next = self.next_wake().filter(|at| *at > self.platform.elapsed()).unwrap_or(until);
            self.advance_to(next.min(until));
        }
        self.advance_to(until);
    }

    pub(crate) fn advance_to(&self, at: Duration) {
        self.platform.advance(at.saturating_sub(self.platform.elapsed()));
    }

    // --- stores and their machines

    /// Starts a store.
    pub(crate) fn start(&self, slot: usize, process: ProcessId) {
        let number = self.instances.borrow().len();
        if self.which(|instance| self.lives(instance)).is_empty() {
            self.model.borrow_mut().set_unseen(false);
        }
        self.count("starts");
        self.say(|| format!("store {number} starts in process {} (slot {slot})", process.0));
        let config = &self.config;
        let mut options = Options::new(Location::File(DATABASE.into()));
        options.exclusive = config.exclusive;
        options.synchronous = config.synchronous;
        options.cache_bytes = config.cache_bytes;
        options.readers = config.readers;
        options.connection_idle = config.connection_idle;
        options.manual_flush = config.manual_flush;
        options.max_pending = config.max_pending;
        options.vfs = Some(vfs::name_of(slot));
        options.system = Arc::new(Simulated::new(&self.platform, process));
        let events = Box::new(move |event| {
            if let Some(world) = Self::current() {
                world.heard(number, event);
            }
        });
        let verify = Box::new(|_| Err("nothing is to be verified".into()));
        self.instances.borrow_mut().push(Instance {
            process,
            store: None,
            machine: None,
            stepping: false,
            wake: Wake::Now,
            busy: false,
            ended: None,
            open_failed: false,
            opened: false,
            closed_at: None,
            fenced: false,
            promoted: false,
            flushed: 0,
            spins: 0,
            tampers: 0,
            reigns: Vec::new(),
            reign: None,
            probed: 0,
            given_up: BTreeSet::new(),
            last: 0,
            taken: 0,
            rows: BTreeSet::new(),
            leases: Vec::new(),
            tickets: Vec::new(),
            waits: Vec::new(),
            paused: false,
        });
        let assembled = self.platform.within(process, || Store::assemble(options, events, verify));
        let (store, machine) = match assembled {
            Ok(assembled) => assembled,
            Err(error) => {
                self.say(|| format!("it cannot be assembled: {error}"));
                self.of(number, |instance| {
                    instance.open_failed = true;
                    instance.wake = Wake::Never;
                });
                return;
            }
        };
        self.of(number, |instance| {
            instance.store = Some(store);
            instance.machine = Some(machine);
        });
    }

    /// Looks at an instance.
    pub(crate) fn of<T>(&self, number: usize, look: impl FnOnce(&mut Instance) -> T) -> T {
        look(&mut self.instances.borrow_mut()[number])
    }

    /// The instances of which this is true.
    pub(crate) fn which(&self, is: impl Fn(&Instance) -> bool) -> Vec<usize> {
        let instances = self.instances.borrow();
        let numbered = instances.iter().enumerate();
        numbered.filter(|(_, instance)| is(instance)).map(|(number, _)| number).collect()
    }

    /// Whether its process lives and its machine has not ended.
    pub(crate) fn lives(&self, instance: &Instance) -> bool {
        self.platform.is_alive(instance.process) && instance.wake != Wake::Never
    }

    /// The instances that live and have their stores held.
    pub(crate) fn callable(&self) -> Vec<usize> {
        self.which(|instance| self.platform.is_alive(instance.process) && instance.store.is_some())
    }

    /// Calls a store, and looks at what became of it.
    pub(crate) fn call<T>(&self, number: usize, call: impl FnOnce(&Store) -> T) -> Option<T> {
        let (store, process) =
            self.of(number, |instance| (instance.store.clone(), instance.process));
        let store = store.filter(|_| self.platform.is_alive(process))?;
        self.observe(number);
        let result = self.platform.within(process, || {
            let result = call(&store);
            drop(store);
            result
        });
        self.observe(number);
        // What the dead say is not heard.
        self.platform.is_alive(process).then_some(result)
    }

    /// Lets a machine go on, this often at most.
    pub(crate) fn step_machine(&self, number: usize, times: usize) {
        for _ in 0..times {
            let taken = self.of(number, |instance| {
                let machine = instance.machine.take();
                instance.stepping = machine.is_some();
                machine.map(|machine| (machine, instance.process))
            });
            let Some((mut machine, process)) = taken else { return };
            if !self.platform.is_alive(process) {
                self.of(number, |instance| {
                    instance.machine = Some(machine);
                    instance.stepping = false;
                });
                return;
            }
            self.count("steps");
            let tampers = self.model.borrow().tampers();
            self.of(number, |instance| instance.tampers = tampers);
            let now = self.platform.now();
            let stepped = self
                .platform
                .within(process, || catch_unwind(AssertUnwindSafe(|| machine.step(now))));
            let alive = self.platform.is_alive(process);
            let wake = match stepped {
                Ok(Next::Again) => Wake::Now,
                Ok(Next::Wait(None)) => Wake::Mail,
                Ok(Next::Wait(Some(at))) => Wake::At(self.platform.since_base(at)),
                Ok(Next::Over) => Wake::Never,
                Err(panic) => {
                    let text = panic.downcast_ref::<String>().cloned();
                    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).into()));
                    self.wrong("a machine panicked", text.unwrap_or_default());
                    Wake::Never
                }
            };
            self.of(number, |instance| {
                instance.busy = machine.has_mail();
                instance.machine = Some(machine);
                instance.stepping = false;
                instance.wake = wake;
            });
            if !alive {
                return;
            }
            self.check_spin(number, wake);
            self.observe(number);
            self.look_at(number);
            if wake == Wake::Never {
                self.over(number);
                return;
            }
            if wake != Wake::Now {
                return;
            }
        }
    }

    /// A machine that waits for a time that has passed has its thread run in circles.
    fn check_spin(&self, number: usize, wake: Wake) {
        let now = self.platform.elapsed();
        let late = matches!(wake, Wake::At(at) if at + Duration::from_millis(1) < now);
        let spins = self.of(number, |instance| {
            instance.spins = if late { instance.spins + 1 } else { 0 };
            instance.spins
        });
        if spins > 20 {
            self.of(number, |instance| instance.spins = 0);
            self.fail(Failure::new(
                Class::Stuck,
                "a machine waits for a time that has passed",
                format!("store {number}: {wake:?}, now {now:?}"),
            ));
            self.platform.advance(Duration::from_millis(1));
        }
    }

    /// Whether a machine has something to do.
    pub(crate) fn is_due(&self, number: usize) -> bool {
        let (wake, process) = self.of(number, |instance| {
            let mail = instance.machine.as_ref().is_some_and(Machine::has_mail);
            let wake = if mail && !instance.busy && instance.wake != Wake::Never {
                Wake::Now
            } else {
                instance.wake
            };
            (if instance.machine.is_none() { Wake::Never } else { wake }, instance.process)
        });
        self.platform.is_alive(process)
            && match wake {
                Wake::Now => true,
                Wake::At(at) => at <= self.platform.elapsed(),
                Wake::Mail | Wake::Never => false,
            }
    }

    /// Lets each that has something to do go on once; says whether there was any.
    pub(crate) fn step_whoever_is_due(&self) -> bool {
        let count = self.instances.borrow().len();
        let mut any = false;
        for number in 0..count {
            if self.is_due(number) {
                any = true;
                self.step_machine(number, 1);
            }
        }
        self.reap();
        any
    }

    /// When the next machine has something to do.
    pub(crate) fn next_wake(&self) -> Option<Duration> {
        let instances = self.instances.borrow();
        let living = instances.iter().filter(|it| self.platform.is_alive(it.process));
        let wakes = living.filter_map(|instance| match instance.wake {
            Wake::At(at) if instance.machine.is_some() => Some(at),
            _ => None,
        });
        wakes.min()
    }

    /// A machine has ended.
    fn over(&self, number: usize) {
        let machine = self.of(number, |instance| instance.machine.take());
        let process = self.of(number, |instance| instance.process);
        self.platform.within(process, || drop(machine));
        self.observe(number);
        let (ended, probed, last, fenced, failed) =
            self.of(number, |it| (it.ended.clone(), it.probed, it.last, it.fenced, it.open_failed));
        self.say(|| format!("store {number} is over: {ended:?}"));
        let probed = self.closed_at(number, fenced).unwrap_or(probed);
        if ended.is_none() {
            self.wrong("a machine ended without a word", format!("store {number}"));
        }
        if !fenced && !failed && probed < last {
            self.fail(Failure::new(
                Class::Lost,
                "a store closed with changes that are not durable",
                format!("store {number}: {probed} of {last}"),
            ));
        }
    }

    /// What a store that nobody holds any more said last of its numbers.
    fn closed_at(&self, number: usize, fenced: bool) -> Option<u64> {
        let (closed, probed, held, reigns) =
            self.of(number, |it| (it.closed_at, it.probed, it.store.is_some(), it.reigns.clone()));
        let closed = closed.filter(|_| !held && !fenced)?;
        for seq in probed + 1..=closed {
            self.durable(&reigns, seq);
        }
        Some(closed)
    }

    /// A number is durable.
    fn durable(&self, reigns: &[usize], seq: u64) {
        let mut model = self.model.borrow_mut();
        let of = reigns.iter().rev().find(|reign| model.reign(**reign).base() < seq);
        let failure = of.and_then(|reign| model.durable(*reign, seq));
        drop(model);
        failure.into_iter().for_each(|failure| self.fail(failure));
    }

    // --- lives

    /// Ends a process.
    pub(crate) fn kill(&self, process: ProcessId) {
        if !self.platform.is_alive(process) {
            return;
        }
        self.count("kills");
        for number in self.which(|instance| instance.process == process) {
            self.observe(number);
            if let Some(reign) = self.of(number, |instance| instance.reign.take()) {
                self.model.borrow_mut().end(reign);
            }
        }
        self.say(|| format!("process {} is killed", process.0));
        self.platform.kill(process);
        let instances = self.instances.borrow();
        for promise in self.promises.borrow_mut().iter_mut() {
            if instances[promise.store].process == process {
                promise.void = true;
            }
        }
    }

    /// Frees what dead processes had, once no call into them is going on.
    pub(crate) fn reap(&self) {
        loop {
            let dead = self.which(|instance| {
                !self.platform.is_alive(instance.process)
                    && (instance.machine.is_some() || instance.store.is_some())
                    && !self.platform.is_running(instance.process)
            });
            let Some(number) = dead.first().copied() else { return };
            let (process, what) = self.of(number, |instance| {
                let what = (
                    std::mem::take(&mut instance.leases),
                    std::mem::take(&mut instance.tickets),
                    instance.machine.take(),
                    instance.store.take(),
                );
                (instance.process, what)
            });
            self.platform.within(process, || drop(what));
        }
    }

    // --- what is looked at

    /// Takes note of what an instance is doing.
    pub(crate) fn observe(&self, number: usize) {
        let (store, process) =
            self.of(number, |instance| (instance.store.clone(), instance.process));
        let Some(store) = store.filter(|_| self.platform.is_alive(process)) else { return };
        self.probe(number, &store);
        let state = store.state();
        let (reign, promoted) = self.of(number, |it| (it.reign, std::mem::take(&mut it.promoted)));
        match state {
            State::Active if reign.is_none() || promoted => {
                if let Some(reign) = reign {
                    self.model.borrow_mut().end(reign);
                }
                self.begin_reign(number, &store, store.statistics().epoch);
            }
            State::Active | State::Closing => {}
            _ => {
                if let Some(reign) = reign {
                    self.model.borrow_mut().end(reign);
                    self.of(number, |instance| instance.reign = None);
                }
            }
        }
        let reign = self.of(number, |instance| {
            instance.last = instance.last.max(store.last());
            instance.reign
        });
        if let Some(reign) = reign {
            self.model.borrow_mut().reaches(reign, store.last());
        }
        // Its last handle may be this one.
        self.platform.within(process, || drop(store));
    }

    fn begin_reign(&self, number: usize, store: &Store, epoch: i64) {
        let tampers = self.of(number, |instance| instance.tampers);
        let found = self.view_of(number, store, true);
        self.say(|| format!("store {number} writes under epoch {epoch}, with {found:?}"));
        let (reign, failures) =
            self.model.borrow_mut().begin(number, epoch, found, store.last(), tampers);
        failures.into_iter().for_each(|failure| self.fail(failure));
        self.of(number, |instance| {
            instance.reign = Some(reign);
            instance.reigns.push(reign);
        });
    }

    /// What became of the numbers up to the durable one.
    fn probe(&self, number: usize, store: &Store) {
        use shape_store::Outcome;
        let durable = store.durable();
        let (probed, reigns) = self.of(number, |it| (it.probed, it.reigns.clone()));
        for seq in probed + 1..=durable {
            let outcome = match store.wait(seq, Box::new(|_| {})) {
                Waiting::Over(outcome) => outcome,
                Waiting::Until(_) => {
                    self.wrong("a wait for a durable number is not over", format!("{seq}"));
                    return;
                }
            };
            match outcome {
                Outcome::Durable | Outcome::SetAside => self.durable(&reigns, seq),
                Outcome::Fenced => {
                    self.of(number, |instance| instance.given_up.insert(seq));
                }
                other => self.wrong(
                    "a number below the durable one has another end",
                    format!("store {number}: {seq} is {other:?}"),
                ),
            }
        }
        self.of(number, |instance| instance.probed = instance.probed.max(durable));
    }

    /// What a store has. `start` says that this is where its reign begins.
    pub(crate) fn view_of(&self, number: usize, store: &Store, start: bool) -> View {
        let mut view = View::new();
        let reign = if start { None } else { self.of(number, |instance| instance.reign) };
        let trusted = self.model.borrow().trust() < crate::model::Trust::Wild;
        for place in store.places() {
            let Some(entry) = store.entry_at(&place) else { continue };
            let handle = String::from_utf8_lossy(&entry.handle).into_owned();
            let model = self.model.borrow();
            let known = model.identify(reign, &handle, &entry.digest.0, entry.row);
            drop(model);
            if known.is_none() && trusted && start {
                self.wrong(
                    "a start finds a shape that nobody added",
                    format!("store {number}: {entry:?}"),
                );
            }
            let shape = match known {
                Some(shape) => shape,
                None if start => self.stranger(&handle, &entry),
                None => STRANGER,
            };
            view.insert(handle, Held { shape, snapshot: entry.snapshot as u8 });
        }
        view
    }

    /// A shape of another's file, or of a damaged one.
    fn stranger(&self, handle: &str, entry: &shape_store::Entry) -> usize {
        let mut model = self.model.borrow_mut();
        model.shapes.push(Shape {
            handle: handle.into(),
            digest: entry.digest.0,
            body: crate::foreign::body(handle),
            row: entry.row,
        });
        model.shapes.len() - 1
    }

    /// Whether a writer has what it took, no more and no less.
    pub(crate) fn look_at(&self, number: usize) {
        let (store, process, reign, stepping) =
            self.of(number, |it| (it.store.clone(), it.process, it.reign, it.stepping));
        let (Some(store), Some(reign)) = (store, reign) else { return };
        if self.platform.is_alive(process)
            && matches!(store.state(), State::Active | State::Closing)
        {
            let view = self.view_of(number, &store, false);
            let model = self.model.borrow();
            let shaken = model.reign(reign).shaken;
            let expected = model.reign(reign).view().clone();
            drop(model);
            // It may be about to say that some are lost.
            let about = |(handle, held): &(&String, &Held)| {
                (shaken && stepping) || view.get(*handle) == Some(held)
            };
            let same = expected.iter().all(|it| about(&it))
                && view.iter().all(|(handle, held)| expected.get(handle) == Some(held));
            if !same && store.state() != State::Closed {
                self.wrong(
                    "a writer has not what it took",
                    format!("store {number} has {view:?}, and should have {expected:?}"),
                );
            }
        }
        self.platform.within(process, || drop(store));
    }

    fn look_at_all(&self) {
        let count = self.instances.borrow().len();
        for number in 0..count {
            self.observe(number);
            self.look_at(number);
        }
    }

    /// Somebody waits for something of a store.
    pub(crate) fn promise(&self, store: usize, awaited: Awaited) -> usize {
        let mut promises = self.promises.borrow_mut();
        promises.push(Promise { store, awaited, told: 0, void: false });
        promises.len() - 1
    }
}

/// What was noted in a history.
#[derive(Debug, Default)]
pub struct Notes {
    /// The promises that were broken.
    pub failures: Vec<Failure>,
    /// How often things happened.
    pub counts: BTreeMap<&'static str, u64>,
    /// The history, if it was asked for.
    pub log: Vec<String>,
    /// The decisions taken within steps.
    pub fired: Vec<(usize, u64)>,
}

impl World {
    /// Frees everything, as if all had died.
    pub(crate) fn end(&self) {
        self.calm.set(true);
        let processes: Vec<_> = self.instances.borrow().iter().map(|it| it.process).collect();
        for process in processes {
            if self.platform.is_alive(process) {
                self.platform.kill(process);
            }
        }
        for promise in self.promises.borrow_mut().iter_mut() {
            promise.void = true;
        }
        self.reap();
        self.platform.set_hook(None);
    }
}
