//! Stores and their machines: how they start, go on and end.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use shape_store::{Location, Machine, Next, Options, Store};

use crate::{
    failure::{Class, Failure},
    instance::{Instance, Wake},
    platform::ProcessId,
    system::Simulated,
    vfs,
    world::{DATABASE, World},
};

impl World {
    /// Starts a store.
    pub(crate) fn start(&self, slot: usize, process: ProcessId) {
        let number = self.instances.borrow().len();
        if self.which(|instance| self.lives(instance)).is_empty() {
            self.model.borrow_mut().set_unseen(false);
        }
        let alone = self.which(|instance| self.lives(instance)).is_empty();
        let last = self.last_numbers();
        self.model.borrow_mut().comes(alone, last);
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
        options.keep_ages = config.keep_ages;
        options.ages_interval = config.ages_interval;
        options.vfs = Some(vfs::name_of(slot));
        options.system = Arc::new(Simulated::new(&self.platform, process));
        let events = Box::new(move |event| {
            if let Some(world) = Self::current() {
                world.heard(number, event);
            }
        });
        let verify = Box::new(|_| Err("nothing is to be verified".into()));
        self.instances.borrow_mut().push(Instance::new(process));
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
            let (tampers, begun, mends) = {
                let model = self.model.borrow();
                (model.tampers(), model.begun(), model.mends())
            };
            self.of(number, |instance| {
                (instance.tampers, instance.begun, instance.mends) = (tampers, begun, mends);
            });
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
    pub(crate) fn check_spin(&self, number: usize, wake: Wake) {
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
    pub(crate) fn over(&self, number: usize) {
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
    pub(crate) fn closed_at(&self, number: usize, fenced: bool) -> Option<u64> {
        let (closed, probed, held, reigns) =
            self.of(number, |it| (it.closed_at, it.probed, it.store.is_some(), it.reigns.clone()));
        let closed = closed.filter(|_| !held && !fenced)?;
        for seq in probed + 1..=closed {
            self.durable(&reigns, seq);
        }
        Some(closed)
    }

    /// A number is durable.
    pub(crate) fn durable(&self, reigns: &[usize], seq: u64) {
        let mut model = self.model.borrow_mut();
        let of = reigns.iter().rev().find(|reign| model.reign(**reign).base() < seq);
        let failure = of.and_then(|reign| model.durable(*reign, seq));
        drop(model);
        failure.into_iter().for_each(|failure| self.fail(failure));
    }
}
