//! What callers ask of a store, and whether its answers are right.

use shape_store::{
    ChangeError, Digest, NewShape, NotWritable, Operation, Request, Snapshot, State, Store, Waiting,
};

use crate::{
    action::Kind,
    chance::{Chance, mix},
    events,
    model::{Change, Shape, View},
    promise::{Awaited, Teller},
    world::World,
};

impl World {
    /// Calls some store.
    pub(crate) fn perform_call(&self, kind: Kind, chance: &mut Chance) {
        let callable = self.callable();
        if callable.is_empty() {
            return;
        }
        let number = chance.pick(&callable);
        match kind {
            Kind::Add => self.add(number, chance, None),
            Kind::Remove => self.remove_shape(number, chance),
            Kind::Mark => self.mark(number, chance),
            Kind::Reset => self.reset(number),
            Kind::RemoveIncomplete => self.remove_incomplete(number),
            Kind::Unknown => self.note_unknown(number, chance),
            Kind::Wait => self.wait(number, chance),
            Kind::CancelWait => self.cancel_wait(number, chance),
            Kind::Flush => self.flush(number),
            Kind::Pause => self.pause(number, chance),
            Kind::Room => self.room(number, chance),
            Kind::Promote => self.promote(number),
            Kind::Close => {
                self.say(|| format!("store {number} is to close"));
                self.call(number, Store::close);
            }
            Kind::DropStore => self.drop_store(number),
            Kind::Look => self.look_up(number, chance),
            _ => self.perform_read(kind, number, chance),
        }
    }

    /// What a writer has, and its reign; none for one that is not the writer, or that is
    /// about to say what it has lost.
    fn writer(&self, number: usize) -> Option<(usize, View)> {
        self.observe(number);
        let (reign, stepping) = self.of(number, |it| (it.reign, it.stepping));
        let model = self.model.borrow();
        let reign = reign?;
        if model.reign(reign).shaken && stepping {
            return None;
        }
        Some((reign, model.reign(reign).view().clone()))
    }

    fn handle(&self, chance: &mut Chance) -> String {
        format!("{}-17369448{:08}", chance.below(self.config.handles), 0)
    }

    /// Whether a change was rightly refused.
    fn refused(&self, number: usize, state: State, error: &ChangeError, what: &str) {
        let right = match error {
            ChangeError::NotWritable(why) => match why {
                NotWritable::Standby => state == State::Standby,
                NotWritable::Fenced => state == State::Fenced,
                NotWritable::Opening => state == State::Opening,
                NotWritable::Closed => matches!(state, State::Closing | State::Closed),
                _ => false,
            },
            ChangeError::TooLarge { .. } => self.config.large_bodies,
            ChangeError::Full => self.config.max_pending.ops < 1000,
            _ => false,
        };
        self.say(|| format!("store {number} refuses {what}: {error}"));
        if !right {
            self.wrong(
                "a change was refused for a wrong reason",
                format!("store {number} ({state:?}): {what}: {error:?}"),
            );
        }
    }

    /// A change was taken, under this number.
    fn taken(&self, number: usize, reign: usize, seq: u64, changes: Vec<Change>) {
        let before = self.of(number, |it| {
            let before = it.taken;
            it.taken = before.max(seq);
            before
        });
        if seq <= before && !changes.is_empty() {
            self.wrong(
                "a number was given twice",
                format!("{seq} after {before} by store {number}"),
            );
        }
        let first = seq.saturating_sub(changes.len() as u64) + 1;
        let mut model = self.model.borrow_mut();
        for change in changes {
            model.change(reign, (first, seq), change);
        }
    }

    /// Adds a shape.
    pub(crate) fn add(
        &self,
        number: usize,
        chance: &mut Chance,
        ticket: Option<&shape_store::Ticket>,
    ) {
        let Some((reign, view)) = self.writer(number) else {
            return self.add_to_other(number, chance);
        };
        // In the end each has a name of its own, so that it is taken.
        let own = self.calm.get().then(|| format!("last-{}", self.model.borrow().shapes.len()));
        let handle = own.clone().unwrap_or_else(|| self.handle(chance));
        let digest = match own {
            Some(own) => Digest::of(own.as_bytes()),
            None => Digest::of(&[chance.below(self.config.handles) as u8]),
        };
        let shape = self.model.borrow().shapes.len();
        let body = self.body(shape, &handle, chance);
        let oids = [chance.below(3) as u32, chance.below(3) as u32];
        let new = NewShape {
            handle: handle.as_bytes(),
            digest,
            hash: shape as u32,
            oids: &oids,
            body: &body,
        };
        let added = self.call(number, |store| {
            let state = store.state();
            let added = store.add(new, Request { ticket, log: true });
            let row = store.entry(handle.as_bytes()).map_or(0, |entry| entry.row);
            (state, added, row)
        });
        let Some((state, added, row)) = added else { return };
        let same_digest = view.iter().find(|(_, held)| {
            let model = self.model.borrow();
            model.shapes.get(held.shape).is_some_and(|shape| shape.digest == digest.0)
        });
        match added {
            Ok(seq) => {
                self.say(|| {
                    format!(
                        "store {number} takes {handle} as shape {shape}, number {seq}, row {row}"
                    )
                });
                if view.contains_key(&handle) || same_digest.is_some() {
                    self.wrong(
                        "an add of what is there was taken",
                        format!("{handle} by store {number}"),
                    );
                }
                if !self.of(number, |it| it.rows.insert(row)) {
                    self.wrong("a row id was given twice", format!("{row} by store {number}"));
                }
                self.model.borrow_mut().shapes.push(Shape {
                    handle: handle.clone(),
                    digest: digest.0,
                    body: Some(body),
                    row,
                });
                self.taken(number, reign, seq, vec![Change::Add { handle, shape }]);
            }
            Err(ChangeError::DuplicateHandle) if view.contains_key(&handle) => {}
            Err(ChangeError::DuplicateShape(there))
                if same_digest.is_some_and(|(handle, _)| handle.as_bytes() == there.as_slice()) => {
            }
            // A damaged file may have a shape that nobody knows.
            Err(ChangeError::DuplicateShape(_)) if self.model.borrow().reign(reign).shaken => {}
            Err(error) => self.refused(number, state, &error, &handle),
        }
    }

    fn add_to_other(&self, number: usize, chance: &mut Chance) {
        let handle = self.handle(chance);
        let answer = self.call(number, |store| {
            let state = store.state();
            if state == State::Active {
                return None;
            }
            let digest = Digest::of(handle.as_bytes());
            let new =
                NewShape { handle: handle.as_bytes(), digest, hash: 0, oids: &[], body: b"x" };
            Some((state, store.add(new, Request::default())))
        });
        match answer.flatten() {
            Some((state, Err(error))) => self.refused(number, state, &error, &handle),
            Some((state, Ok(_))) => {
                self.wrong(
                    "a store that is no writer took a change",
                    format!("store {number}, {state:?}"),
                );
            }
            None => {}
        }
    }

    /// A body that tells which shape it is of.
    fn body(&self, shape: usize, handle: &str, chance: &mut Chance) -> Vec<u8> {
        let len = match chance.below(10) {
            0 if self.config.large_bodies && !self.calm.get() => 40_000,
            0..3 => 20,
            _ => 300 + chance.below(900),
        };
        let mut body = format!("{shape}|{handle}|").into_bytes();
        let (common, own) = (body.len() + len / 2, body.len() + len);
        body.extend((body.len()..common).map(|i| b"the same in all of them "[i % 24]));
        body.extend((body.len()..own).map(|i| mix(shape as u64, i as u64) as u8));
        body
    }

    fn remove_shape(&self, number: usize, chance: &mut Chance) {
        let Some((reign, view)) = self.writer(number) else { return };
        let handle = self.some_handle(&view, chance);
        let removed = self.call(number, |store| {
            (store.state(), store.remove(handle.as_bytes(), Request::default()))
        });
        match removed {
            None => {}
            Some((_, Ok(seq))) => {
                self.say(|| format!("store {number} removes {handle}, number {seq}"));
                if !view.contains_key(&handle) {
                    self.wrong("a removal of what is not there was taken", handle.clone());
                }
                self.taken(number, reign, seq, vec![Change::Remove { handle }]);
            }
            Some((_, Err(ChangeError::Unknown))) if !view.contains_key(&handle) => {}
            Some((state, Err(error))) => self.refused(number, state, &error, &handle),
        }
    }

    fn some_handle(&self, view: &View, chance: &mut Chance) -> String {
        let there: Vec<&String> = view.keys().collect();
        match there.is_empty() || chance.one_in(4) {
            true => self.handle(chance),
            false => chance.pick(&there).clone(),
        }
    }

    fn mark(&self, number: usize, chance: &mut Chance) {
        let Some((reign, view)) = self.writer(number) else { return };
        let handle = self.some_handle(&view, chance);
        let snapshot = chance.pick(&[Snapshot::Started, Snapshot::Complete]);
        let marked = self.call(number, |store| {
            (store.state(), store.mark(handle.as_bytes(), snapshot, Request::default()))
        });
        match marked {
            None => {}
            Some((_, Ok(seq))) => {
                self.say(|| format!("store {number} marks {handle} {snapshot:?}, number {seq}"));
                let snapshot = snapshot as u8;
                self.taken(number, reign, seq, vec![Change::Mark { handle, snapshot }]);
            }
            Some((_, Err(ChangeError::Unknown))) if !view.contains_key(&handle) => {}
            Some((state, Err(error))) => self.refused(number, state, &error, &handle),
        }
    }

    fn reset(&self, number: usize) {
        let Some((reign, _)) = self.writer(number) else { return };
        if let Some(Ok(seq)) = self.call(number, Store::reset) {
            self.say(|| format!("store {number} is reset, number {seq}"));
            self.taken(number, reign, seq, vec![Change::Reset]);
        }
    }

    fn remove_incomplete(&self, number: usize) {
        let Some((reign, view)) = self.writer(number) else { return };
        let Some(Ok((removed, seq))) = self.call(number, Store::remove_incomplete) else { return };
        let removed: Vec<String> =
            removed.iter().map(|handle| String::from_utf8_lossy(handle).into_owned()).collect();
        self.say(|| format!("store {number} removes {removed:?}, up to number {seq}"));
        let expected = view.iter().filter(|(_, held)| held.snapshot < 2);
        if !expected.map(|(handle, _)| handle).eq(&removed) {
            self.wrong("not what is incomplete was removed", format!("{removed:?} of {view:?}"));
        }
        let changes = removed.into_iter().map(|handle| Change::Remove { handle });
        self.taken(number, reign, seq, changes.collect());
    }

    fn note_unknown(&self, number: usize, chance: &mut Chance) {
        let Some((reign, _)) = self.writer(number) else { return };
        let handle = self.handle(chance);
        let operation = chance.pick(&[Operation::Remove, Operation::SnapshotComplete]);
        let noted = self.call(number, |store| {
            store.note_unknown(operation, handle.as_bytes(), Request::default())
        });
        if let Some(Ok(seq)) = noted {
            self.taken(number, reign, seq, vec![Change::Nothing]);
        }
    }

    // --- waiting

    fn wait(&self, number: usize, chance: &mut Chance) {
        let last = self.of(number, |instance| instance.last);
        let seq = match chance.below(3) {
            0 => 1 + chance.below(last as usize + 1) as u64,
            _ => last,
        };
        let flushes = chance.one_in(2) && seq <= last;
        let promise = self.promise(number, Awaited::Durable(seq));
        let waiting = self.call(number, |store| {
            let waiting = store.wait(seq, events::of_outcome(promise));
            if flushes {
                store.flush_to(seq);
            }
            waiting
        });
        match waiting {
            Some(Waiting::Over(outcome)) => {
                self.promises.borrow_mut()[promise].void = true;
                if seq > 0 {
                    self.check_outcome(number, seq, outcome);
                }
            }
            Some(Waiting::Until(id)) => {
                self.say(|| format!("somebody waits for number {seq} of store {number}"));
                // Nobody waits for what is not asked for yet: it may never be.
                if seq > last {
                    let taken = self.call(number, |store| store.cancel_wait(id));
                    self.promises.borrow_mut()[promise].void = taken == Some(true);
                } else {
                    self.of(number, |instance| instance.waits.push((promise, id)));
                }
            }
            None => self.promises.borrow_mut()[promise].void = true,
        }
    }

    fn cancel_wait(&self, number: usize, chance: &mut Chance) {
        let waits = self.of(number, |instance| instance.waits.clone());
        if waits.is_empty() {
            return;
        }
        let (promise, id) = chance.pick(&waits);
        let told = self.promises.borrow()[promise].told;
        match self.call(number, |store| store.cancel_wait(id)) {
            Some(true) if told > 0 => {
                self.wrong("a wait that was over was taken back", format!("{promise}"));
            }
            Some(true) => self.promises.borrow_mut()[promise].void = true,
            _ => {}
        }
        self.of(number, |instance| instance.waits.retain(|(other, _)| *other != promise));
    }

    fn flush(&self, number: usize) {
        let last = self.of(number, |instance| instance.last);
        self.call(number, |store| store.flush_to(last));
    }

    fn pause(&self, number: usize, chance: &mut Chance) {
        let paused = chance.one_in(2);
        self.say(|| format!("store {number} paused: {paused}"));
        self.of(number, |instance| instance.paused = paused);
        self.call(number, |store| store.pause(paused));
    }

    fn room(&self, number: usize, chance: &mut Chance) {
        let ticket = self.of(number, |instance| instance.tickets.pop());
        if let Some((promise, ticket)) = ticket {
            let told = self.promises.borrow()[promise].told > 0;
            if told && chance.one_in(2) {
                self.add(number, chance, Some(&ticket));
            }
            let process = self.of(number, |instance| instance.process);
            if !told {
                self.promises.borrow_mut()[promise].void = true;
            }
            let gives_up = chance.one_in(2);
            let gave_up = self.platform.within(process, || gives_up && ticket.give_up());
            if gives_up && gave_up == told {
                self.wrong(
                    "a place in line is given up wrongly",
                    format!("told {told}, {gave_up}"),
                );
            }
            return;
        }
        let promise = self.promise(number, Awaited::Room);
        let teller = Teller(promise);
        let notify = Box::new(move |()| teller.tell(|world, promise| world.told_room(promise)));
        let ticket = self.call(number, |store| store.wait_for_room(700, notify)).flatten();
        match ticket {
            Some(ticket) => self.of(number, |instance| instance.tickets.push((promise, ticket))),
            None => self.promises.borrow_mut()[promise].void = true,
        }
    }

    // --- its life

    /// Has a store become the writer.
    pub(crate) fn promote(&self, number: usize) {
        self.say(|| format!("store {number} is to become the writer"));
        let promise = self.promise(number, Awaited::Promotion);
        let teller = Teller(promise);
        let notify = Box::new(move |answer| {
            teller.tell(|world, promise| world.told_promotion(promise, answer));
        });
        if self.call(number, |store| store.promote(notify)).is_none() {
            self.promises.borrow_mut()[promise].void = true;
        }
    }

    fn drop_store(&self, number: usize) {
        // What is lent and promised keeps nobody from closing.
        self.say(|| format!("nobody holds store {number} any more"));
        let (store, process) = self.of(number, |it| (it.store.take(), it.process));
        self.platform.within(process, || drop(store));
    }

    /// Whether what a writer answers is what it was told.
    fn look_up(&self, number: usize, chance: &mut Chance) {
        let Some((_, view)) = self.writer(number) else { return };
        let handle = self.some_handle(&view, chance);
        let digest = Digest::of(&[chance.below(self.config.handles) as u8]);
        let answers = self.call(number, |store| {
            let entry = store.entry(handle.as_bytes()).is_some();
            (entry, store.handle_for(&digest), store.count(), store.state())
        });
        let Some((there, by_digest, count, state)) = answers else { return };
        if state != State::Active
            || self.model.borrow().reign(self.of(number, |it| it.reign.unwrap_or(0))).shaken
        {
            return;
        }
        let model = self.model.borrow();
        let same = |held: &crate::model::Held| {
            model.shapes.get(held.shape).is_some_and(|shape| shape.digest == digest.0)
        };
        let expected =
            view.iter().find(|(_, held)| same(held)).map(|(handle, _)| handle.as_bytes().to_vec());
        let right = there == view.contains_key(&handle)
            && by_digest.as_ref().map(|handle| handle.to_vec()) == expected
            && count == view.len();
        drop(model);
        if !right {
            self.wrong(
                "a lookup is answered wrongly",
                format!("store {number}: {handle} {there}, {by_digest:?}, {count} of {view:?}"),
            );
        }
    }
}
