//! A history while it goes on: processes with stores, and whoever calls them.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::{Rc, Weak},
    sync::{
        // Relaxed: a switch that guards nothing else.
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    action,
    chance::Chance,
    config::Config,
    failure::{Class, Failure},
    instance::Instance,
    model::Model,
    platform::Platform,
    promise::Promise,
};

mod gate;

/// Where the database is.
pub const DATABASE: &str = "/data/meta/shapes.sqlite";

/// How deep others may run within each other's operations.
const DEEPEST: usize = 3;

/// For how long an operation is held up before nobody more runs within it.
const LONGEST_HOLD: Duration = Duration::from_secs(120);

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
    /// Since when the outermost operation in which others run is held up.
    held_since: Cell<Duration>,
    /// Whether somebody began to replace the file and did not finish.
    pub(crate) replacing: Cell<bool>,
    /// Whether a writer has just put another file in the place of its own.
    pub(crate) renewed: Cell<bool>,
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
            held_since: Cell::default(),
            replacing: Cell::new(false),
            renewed: Cell::new(false),
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
        if self.renewed.take() && chance.one_in(2) {
            self.promote_follower(&mut chance);
        }
        let kind = action::Kind::draw(&mut chance, &self.config.weights);
        self.perform(kind, &mut chance);
        self.reap();
        self.look_at_all();
    }

    pub(crate) fn advance_to(&self, at: Duration) {
        self.platform.advance(at.saturating_sub(self.platform.elapsed()));
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
