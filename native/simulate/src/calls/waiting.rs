//! Waiting, and letting it come to an end.

use shape_store::Waiting;

use crate::{
    chance::Chance,
    events,
    promise::{Awaited, Teller},
    world::World,
};

impl World {
    pub(super) fn wait(&self, number: usize, chance: &mut Chance) {
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

    pub(super) fn cancel_wait(&self, number: usize, chance: &mut Chance) {
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

    pub(super) fn flush(&self, number: usize) {
        let last = self.of(number, |instance| instance.last);
        self.call(number, |store| store.flush_to(last));
    }

    pub(super) fn pause(&self, number: usize, chance: &mut Chance) {
        let paused = chance.one_in(2);
        self.say(|| format!("store {number} paused: {paused}"));
        self.of(number, |instance| instance.paused = paused);
        self.call(number, |store| store.pause(paused));
    }

    pub(super) fn room(&self, number: usize, chance: &mut Chance) {
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
}
