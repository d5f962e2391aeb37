//! What becomes of a store is noted, and held against what it took.

use shape_store::{Entry, State, Store, Waiting};

use crate::{
    model::{Found, Held, STRANGER, Shape, View},
    promise::{Awaited, Promise},
    world::World,
};

impl World {
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
            State::Closing => {
                // One that was to close while it opened, or before it was promoted, has no
                // reign, and has the file all the same.
                let alone = self.of(number, |instance| instance.alone) || promoted;
                let mut model = self.model.borrow_mut();
                match reign {
                    Some(reign) => model.closing(reign),
                    None if alone => model.heir_closing(),
                    None => {}
                }
            }
            State::Active => {}
            _ => {
                if let Some(reign) = reign {
                    self.model.borrow_mut().end(reign);
                    self.of(number, |instance| instance.reign = None);
                } else if promoted && state == State::Closed {
                    self.model.borrow_mut().heir_closing();
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

    pub(crate) fn begin_reign(&self, number: usize, store: &Store, epoch: i64) {
        let (tampers, begun, mends) =
            self.of(number, |instance| (instance.tampers, instance.begun, instance.mends));
        if self.model.borrow().mends() != mends {
            self.model.borrow_mut().distrust();
        }
        let first = self.of(number, |instance| instance.reigns.is_empty());
        if first && store.statistics().found_clean == 1 && self.model.borrow().is_in_use() {
            self.wrong(
                "a file that was not closed says that it is clean",
                format!("found by store {number}"),
            );
        }
        let (view, version) = (self.view_of(number, store, true), store.flags_version());
        self.say(|| format!("store {number} writes under epoch {epoch}, with {view:?}"));
        let found = Found { epoch, view, version, base: store.last() };
        let (reign, failures) = self.model.borrow_mut().begin(number, found, tampers, begun);
        failures.into_iter().for_each(|failure| self.fail(failure));
        self.of(number, |instance| {
            instance.reign = Some(reign);
            instance.reigns.push(reign);
        });
    }

    /// What became of the numbers up to the durable one.
    pub(crate) fn probe(&self, number: usize, store: &Store) {
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
                None if start => {
                    let shape = self.stranger(&handle, &entry);
                    self.of(number, |instance| {
                        let key = (entry.handle.to_vec(), entry.row);
                        // It may have been away for a while, and come back without.
                        if let Some(marked) = instance.marked_unknown.remove(&key) {
                            instance.marked.insert(shape, marked.min(entry.snapshot as u8));
                        }
                    });
                    shape
                }
                None => STRANGER,
            };
            let saved = store.saved_snapshot(&entry.handle).map_or(0, |saved| saved as u8);
            view.insert(handle, Held { shape, snapshot: saved, flags: entry.flags });
            self.check_memory(number, store, shape, &entry, saved);
        }
        let here = |shape: &usize| view.values().any(|held| held.shape == *shape);
        self.of(number, |instance| {
            instance.marked.retain(|shape, _| here(shape));
            instance.read.retain(|shape, _| here(shape));
        });
        view
    }

    /// Whether a store still knows of a shape what it was told, and is not in the file.
    fn check_memory(&self, number: usize, store: &Store, shape: usize, entry: &Entry, saved: u8) {
        // A shape that was away for a while comes back without.
        if self.model.borrow().is_shaken() {
            return;
        }
        let (marked, read) = self.of(number, |instance| {
            let marked = instance.marked.get(&shape).copied().unwrap_or(0);
            (marked, instance.read.get(&shape).copied())
        });
        if entry.snapshot as u8 != saved.max(marked) {
            self.wrong(
                "a mark of memory alone is not as it was made",
                format!("store {number}: {entry:?}, {saved} in the file, marked {marked}"),
            );
        }
        let there = store.meta(&entry.handle).and_then(|meta| meta.read);
        if read.is_some_and(|read| read != there) {
            self.wrong(
                "a shape was not read when it was",
                format!("store {number}: {entry:?} was read at {there:?}, and should at {read:?}"),
            );
        }
    }

    /// A shape of another's file, or of a damaged one.
    pub(crate) fn stranger(&self, handle: &str, entry: &shape_store::Entry) -> usize {
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
        let (store, process, reign, stepping, fenced) =
            self.of(number, |it| (it.store.clone(), it.process, it.reign, it.stepping, it.fenced));
        let (Some(store), Some(reign)) = (store, reign) else { return };
        // One that is closing stays so when it is fenced, and is a writer no more.
        let writes = match store.state() {
            State::Active => true,
            State::Closing => !fenced,
            _ => false,
        };
        if self.platform.is_alive(process) && writes {
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
            let version = self.model.borrow().reign(reign).version_now().map(str::to_owned);
            if store.flags_version() != version && !shaken {
                self.wrong(
                    "the flags of a writer mean something else",
                    format!("store {number}: {:?} and not {version:?}", store.flags_version()),
                );
            }
            if !same && store.state() != State::Closed {
                self.wrong(
                    "a writer has not what it took",
                    format!("store {number} has {view:?}, and should have {expected:?}"),
                );
            }
        }
        self.platform.within(process, || drop(store));
    }

    pub(crate) fn look_at_all(&self) {
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
