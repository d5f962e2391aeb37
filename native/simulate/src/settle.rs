//! The end of a history: all faults are healed, everybody finishes, and what is there is
//! looked at.

use std::time::Duration;

use shape_store::{State, Store};

use crate::{
    chance::{Chance, mix},
    failure::{Class, Failure},
    instance::Wake,
    model::Trust,
    promise::Awaited,
    world::World,
};

/// How long everything may take once nothing fails any more.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long nothing has to happen: followers look again after a second at the latest, and a
/// writer looks after its file every two.
const QUIET: Duration = Duration::from_millis(2500);

impl World {
    /// Heals all faults and lets everybody finish.
    pub(crate) fn settle(&self, seed: u64) {
        self.say(|| "all faults are healed".into());
        self.calm.set(true);
        self.platform.disk.borrow_mut().set_capacity(None);
        let mut chance = Chance::new(mix(seed, 0xe0d));
        self.reap();
        for number in self.callable() {
            self.call(number, |store| store.pause(false));
        }
        self.let_all_rest("what is asked is not done after all faults are healed");
        if self.has_failed() {
            return;
        }
        self.have_a_writer();
        self.let_all_rest("no rest once there is a writer");
        // Who lost the writing hears of it when it writes.
        for number in self.callable() {
            self.add(number, &mut chance, None);
            self.add(number, &mut chance, None);
            let last = self.of(number, |instance| instance.last);
            self.call(number, |store| store.flush_to(last));
        }
        self.let_all_rest("no rest after the last changes");
        if self.has_failed() {
            return;
        }
        self.have_a_writer();
        if self.has_failed() {
            return;
        }
        self.compare();
        self.close_all();
        if !self.has_failed() {
            self.start_again(&mut chance);
        }
    }

    /// Lets everybody go on until nobody has anything to do.
    fn let_all_rest(&self, what: &'static str) {
        let until = self.platform.elapsed() + PATIENCE;
        // Long enough for followers to have looked, and for who waits to have waited.
        let mut quiet_since = None;
        let mut rounds = 0;
        loop {
            self.give_back();
            let busy = self.step_whoever_is_due();
            if self.has_failed() {
                return;
            }
            rounds += 1;
            if self.platform.elapsed() > until || rounds > 50_000 {
                let waiting = self.unanswered();
                self.fail(Failure::new(
                    Class::Stuck,
                    what,
                    format!("{:?}; {waiting:?}; {rounds} rounds", self.states()),
                ));
                return;
            }
            if busy {
                continue;
            }
            let now = self.platform.elapsed();
            if self.is_at_rest() {
                let since = *quiet_since.get_or_insert(now);
                if now - since > QUIET {
                    return;
                }
            } else {
                quiet_since = None;
            }
            let next = self.next_wake().map_or(now + Duration::from_millis(20), |at| at.max(now));
            self.advance_to(next.min(now + Duration::from_millis(100)) + Duration::from_micros(1));
        }
    }

    fn give_back(&self) {
        for number in self.which(|it| !it.leases.is_empty() || !it.tickets.is_empty()) {
            let (leases, tickets, process) = self.of(number, |instance| {
                let tickets = std::mem::take(&mut instance.tickets);
                (std::mem::take(&mut instance.leases), tickets, instance.process)
            });
            for (promise, _) in &tickets {
                let mut promises = self.promises.borrow_mut();
                promises[*promise].void |= promises[*promise].told == 0;
            }
            self.platform.within(process, || drop((leases, tickets)));
        }
        for number in self.callable() {
            let last = self.of(number, |it| {
                let more = it.last > it.flushed;
                it.flushed = it.last;
                more.then_some(it.last)
            });
            if let Some(last) = last {
                self.call(number, |store| store.flush_to(last));
            }
        }
    }

    fn is_at_rest(&self) -> bool {
        self.unanswered().is_empty()
            && self.callable().into_iter().all(|number| {
                let store = self.of(number, |instance| instance.store.clone());
                let ended = self.of(number, |instance| instance.wake == Wake::Never);
                store.is_none_or(|store| match store.state() {
                    State::Opening | State::Closing => ended,
                    State::Active => store.pending_ops() == 0 && store.statistics().rebuilding == 0,
                    _ => true,
                })
            })
            && self.which(|it| it.store.is_none() && self.lives(it)).is_empty()
    }

    /// Who waits in vain.
    fn unanswered(&self) -> Vec<(usize, Awaited)> {
        let promises = self.promises.borrow();
        let open = promises.iter().filter(|promise| promise.told == 0 && !promise.void);
        open.map(|promise| (promise.store, promise.awaited.clone())).collect()
    }

    fn states(&self) -> Vec<(usize, Option<State>, Wake, usize)> {
        let instances = self.instances.borrow();
        let all = instances.iter().enumerate().filter(|(_, it)| self.lives(it));
        all.map(|(number, it)| {
            let store = it.store.as_ref();
            let pending = store.map_or(0, Store::pending_ops);
            (number, store.map(Store::state), it.wake, pending)
        })
        .collect()
    }

    fn in_state(&self, wanted: State) -> Vec<usize> {
        let is = |number: &usize| {
            self.of(*number, |it| it.store.as_ref().map(Store::state)) == Some(wanted)
        };
        self.callable().into_iter().filter(is).collect()
    }

    /// If nobody is the writer, somebody becomes it.
    fn have_a_writer(&self) {
        if !self.in_state(State::Active).is_empty() {
            return;
        }
        let other = [State::Standby, State::Fenced].map(|state| self.in_state(state)).concat();
        match other.first() {
            Some(number) => {
                self.promote(*number);
                self.let_all_rest("no rest after the last promotion");
                if self.in_state(State::Active).is_empty() && !self.has_failed() {
                    self.fail(Failure::new(
                        Class::Stuck,
                        "nobody can become the writer though nothing fails",
                        format!("{:?}", self.states()),
                    ));
                }
            }
            None => self.open_anew(),
        }
    }

    /// Starts a store where none is.
    fn open_anew(&self) {
        let old = self.platform.process_of(0);
        if let Some(old) = old.filter(|old| self.platform.is_alive(*old)) {
            self.kill(old);
        }
        self.reap();
        let process = self.platform.start(0);
        self.start(0, process);
        let number = self.instances.borrow().len() - 1;
        self.let_all_rest("a store does not open though nothing fails");
        if self.in_state(State::Active) != [number] && !self.has_failed() {
            self.fail(Failure::new(
                Class::Stuck,
                "a store that is alone does not become the writer",
                format!("{:?}", self.states()),
            ));
        }
    }

    /// There is one writer, and its followers have what it has.
    fn compare(&self) {
        let writers = self.in_state(State::Active);
        let trusted = self.model.borrow().trust() == Trust::Sound;
        if writers.len() != 1 {
            if trusted || writers.is_empty() {
                self.wrong("there is not one writer in the end", format!("{:?}", self.states()));
            }
            return;
        }
        let writer = writers[0];
        self.look_at(writer);
        let sound = !self.is_shaken(writer);
        self.read_everything(writer, sound);
        let view = |number: usize| {
            self.call(number, |store| self.view_of(number, store, false)).unwrap_or_default()
        };
        let expected = view(writer);
        let followers = [State::Standby, State::Fenced].map(|state| self.in_state(state)).concat();
        for follower in followers {
            self.count("followers compared");
            self.read_everything(follower, sound && trusted);
            let there = view(follower);
            if there != expected && trusted {
                self.wrong(
                    "a follower has not what the writer has",
                    format!("store {follower} has {there:?}, and {writer} has {expected:?}"),
                );
            }
        }
    }

    fn is_shaken(&self, writer: usize) -> bool {
        let reign = self.of(writer, |instance| instance.reign);
        reign.is_none_or(|reign| self.model.borrow().reign(reign).shaken)
    }

    fn close_all(&self) {
        for number in self.callable() {
            self.call(number, Store::close);
        }
        self.let_all_rest("a store does not close though nothing fails");
        let unanswered = self.unanswered();
        if !unanswered.is_empty() {
            self.fail(Failure::new(
                Class::Unanswered,
                "somebody is not told though all stores are closed",
                format!("{unanswered:?}"),
            ));
        }
    }

    /// What the next start finds is looked at when its reign begins.
    fn start_again(&self, chance: &mut Chance) {
        let processes: Vec<_> = self.instances.borrow().iter().map(|it| it.process).collect();
        processes.into_iter().for_each(|process| self.kill(process));
        self.open_anew();
        if self.has_failed() {
            return;
        }
        self.compare();
        if let Some(number) = self.in_state(State::Active).first().copied() {
            self.add(number, chance, None);
        }
        self.close_all();
    }
}
