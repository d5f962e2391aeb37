//! What stores say, and what those who wait for something are told.

use shape_store::{Event, Granted, Outcome, Store};

use crate::{
    failure::{Class, Failure},
    model::Trust,
    promise::{Awaited, Teller},
    world::World,
};

impl World {
    /// A store says something.
    pub(crate) fn heard(&self, number: usize, event: Event) {
        let process = self.of(number, |instance| instance.process);
        if !self.platform.is_alive(process) {
            return;
        }
        self.say(|| {
            let text: String = format!("{event:?}").chars().take(300).collect();
            format!("store {number} says {text}")
        });
        if let Some(ended) = self.of(number, |instance| instance.ended.clone()) {
            self.wrong(
                "an event after the last",
                format!("store {number}: {event:?} after {ended}"),
            );
        }
        let name = format!("{event:?}").split([' ', '{']).next().unwrap_or_default().to_owned();
        match event {
            Event::Opened { quarantined, standby, .. } => {
                self.count(if standby { "followers opened" } else { "writers opened" });
                self.of(number, |instance| (instance.opened, instance.alone) = (true, !standby));
                if !standby && self.of(number, |instance| instance.store.is_none()) {
                    // Nobody is there to see that it closes.
                    self.model.borrow_mut().heir_closing();
                }
                if quarantined.is_some() {
                    self.count("files moved aside at a start");
                    let mut model = self.model.borrow_mut();
                    // It may be the rest of a replacement that another began, or have been moved
                    // before another put a sound one there.
                    let tampers = self.of(number, |it| it.tampers);
                    let during = model.tampers() > tampers;
                    if model.trust() < Trust::Wild && !self.replacing.get() && !during {
                        drop(model);
                        self.fail(Failure::new(
                            Class::Lost,
                            "a sound file was moved aside",
                            format!("by store {number}"),
                        ));
                    } else {
                        model.replaced(tampers);
                    }
                }
            }
            Event::OpenFailed { .. } => {
                self.count("failed opens");
                self.of(number, |instance| {
                    instance.open_failed = true;
                    instance.ended = Some(name);
                });
            }
            Event::Committed { .. } => self.count("commits"),
            Event::CommitFailed { .. } => self.count("failed commits"),
            Event::Recovered { .. } => self.count("recoveries"),
            Event::SetAside { .. } => self.count("operations set aside"),
            Event::PressureStarted { .. } => self.count("full queues"),
            Event::Promoted { .. } => {
                self.count("promotions");
                self.of(number, |instance| instance.promoted = true);
                if self.of(number, |instance| instance.store.is_none()) {
                    // Nobody is there to see that it closes.
                    self.model.borrow_mut().heir_closing();
                }
            }
            Event::Fenced { .. } => {
                self.count("fencings");
                self.forget_given_up(number);
                self.of(number, |instance| instance.fenced = true);
            }
            Event::Rebuilt { lost, .. } => {
                self.count("replacements");
                let (reign, tampers, begun) = self.of(number, |it| {
                    // What a try before this one put in place may be taken as it is by now.
                    let first = it.first_try.take();
                    let tampers = first.map_or(it.tampers, |first| first.min(it.tampers));
                    (it.reign, tampers, it.begun)
                });
                match reign {
                    Some(reign) => {
                        for handle in lost {
                            self.lost(reign, &handle);
                        }
                        self.model.borrow_mut().rebuilt(reign, tampers, begun);
                        self.renewed.set(true);
                    }
                    None => self.model.borrow_mut().replaced(tampers),
                }
            }
            Event::RebuildFailed { .. } => {
                self.of(number, |it| it.first_try = it.first_try.or(Some(it.tampers)));
                self.replacing.set(true);
                self.count("failed replacements");
            }
            Event::Lost { handle, .. } => {
                if let Some(reign) = self.of(number, |instance| instance.reign) {
                    self.lost(reign, &handle);
                }
            }
            Event::Poisoned { message } => {
                self.wrong("a writer panicked", format!("store {number}: {message}"));
                self.of(number, |instance| instance.ended = Some(name));
            }
            Event::Closed { durable } => {
                self.count("closed");
                let (reign, tampers, fenced) =
                    self.of(number, |it| (it.reign, it.tampers, it.fenced));
                if let Some(reign) = reign.filter(|_| !fenced) {
                    self.model.borrow_mut().closed(reign, tampers);
                }
                self.of(number, |instance| {
                    instance.ended = Some(name);
                    instance.closed_at = Some(durable);
                });
            }
            _ => {}
        }
    }

    /// What is given up is removed, and comes anew if it was committed all the same.
    fn forget_given_up(&self, number: usize) {
        let Some(reign) = self.of(number, |instance| instance.reign) else { return };
        let given_up = self.model.borrow().reign(reign).unsettled();
        self.of(number, |instance| {
            instance.marked.retain(|shape, _| !given_up.contains(shape));
            instance.read.retain(|shape, _| !given_up.contains(shape));
        });
    }

    fn lost(&self, reign: usize, handle: &[u8]) {
        self.count("lost bodies");
        let handle = String::from_utf8_lossy(handle);
        let failure = self.model.borrow_mut().lost(reign, &handle);
        failure.into_iter().for_each(|failure| self.fail(failure));
    }

    // --- answers

    /// Somebody is told; says whether it is somebody who still lives.
    fn told(&self, promise: usize) -> Option<(usize, Awaited)> {
        let (store, awaited, told, void) = {
            let mut promises = self.promises.borrow_mut();
            let it = &mut promises[promise];
            it.told += 1;
            (it.store, it.awaited.clone(), it.told, it.void)
        };
        let process = self.of(store, |instance| instance.process);
        if !self.platform.is_alive(process) {
            return None;
        }
        if told > 1 || void {
            self.fail(Failure::new(
                Class::Unanswered,
                "somebody was told twice, or after taking it back",
                format!("{awaited:?} of store {store}"),
            ));
        }
        Some((store, awaited))
    }

    /// A number has come to its end.
    pub(crate) fn told_outcome(&self, promise: usize, outcome: Outcome) {
        if let Some((store, Awaited::Durable(seq))) = self.told(promise) {
            let durable = self.of(store, |it| it.store.as_ref().map(Store::durable));
            let early = durable.is_some_and(|durable| durable < seq);
            if early && matches!(outcome, Outcome::Durable | Outcome::SetAside) {
                self.wrong(
                    "a number is said to be durable before it is",
                    format!("{seq} of store {store}, which is at {durable:?}"),
                );
            }
            self.check_outcome(store, seq, outcome);
        }
    }

    /// Whether an answer about a number is right.
    pub(crate) fn check_outcome(&self, store: usize, seq: u64, outcome: Outcome) {
        self.say(|| format!("number {seq} of store {store} is {outcome:?}"));
        let (given_up, fenced, probed) =
            self.of(store, |it| (it.given_up.contains(&seq), it.fenced, it.probed));
        let right = match outcome {
            Outcome::Durable | Outcome::SetAside => !given_up,
            Outcome::Fenced => given_up || seq > probed,
            Outcome::Closed => !given_up && seq > probed,
            Outcome::Poisoned => false,
        };
        if !right {
            self.wrong(
                "a number has another end than it had",
                format!("{seq} of store {store} is {outcome:?}; given up {given_up}, fenced {fenced}, probed {probed}"),
            );
        }
    }

    /// There is room, or never will be.
    pub(crate) fn told_room(&self, promise: usize) {
        self.told(promise);
    }

    /// A connection is there, or none is to be had.
    pub(crate) fn told_granted(&self, promise: usize, granted: Granted) {
        let told = self.told(promise);
        match granted {
            Ok(lease) => {
                let store = self.promises.borrow()[promise].store;
                // Also of a dead process: it is dropped where its end is.
                self.of(store, |instance| instance.leases.push(lease));
            }
            Err(error) => {
                if told.is_some() {
                    self.count("connections refused");
                    self.say(|| format!("no connection: {error}"));
                }
            }
        }
    }

    /// A promotion has come to its end.
    pub(crate) fn told_promotion(&self, promise: usize, answer: Result<(), String>) {
        if let Some((store, _)) = self.told(promise) {
            self.say(|| format!("the promotion of store {store}: {answer:?}"));
            if answer.is_err() {
                self.count("failed promotions");
            }
        }
    }
}

/// What a store is given to tell somebody of an outcome.
pub(crate) fn of_outcome(promise: usize) -> shape_store::Notify<Outcome> {
    let teller = Teller(promise);
    Box::new(move |outcome| teller.tell(|world, promise| world.told_outcome(promise, outcome)))
}
