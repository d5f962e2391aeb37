//! Who waits for which number.
//!
//! The only way anything waits for SQLite: a synchronous add, a flush, a
//! validation and a close all name the number of the change they need.

use std::{
    collections::{BTreeMap, HashSet},
    ops::RangeInclusive,
    sync::atomic::Ordering::{Acquire, Release},
};

use crate::{
    Notify,
    queue::Seq,
    sync::{AtomicU64, Mutex},
};

/// How a wait for a number ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The change and all before it are committed.
    Durable,
    /// All before it are, but this one was refused by SQLite and set aside; the
    /// shape is served from memory until the store closes.
    SetAside,
    /// The store closed before it came to the change.
    Closed,
    /// Another store became the writer of the file.
    Fenced,
    /// The writer died.
    Poisoned,
}

/// Names a wait, to take it back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct WaitId {
    seq: Seq,
    nonce: u64,
}

/// What asking to wait gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// It is over already; nobody will be told.
    Over(Outcome),
    /// The notification will come, unless the wait is taken back.
    Until(WaitId),
}

#[derive(Default)]
pub(crate) struct Waits {
    durable: AtomicU64,
    state: Mutex<Waiters>,
}

#[derive(Default)]
struct Waiters {
    waiting: BTreeMap<WaitId, Notify<Outcome>>,
    next_nonce: u64,
    /// Numbers passed over. They are few: each is a fault somebody looks into.
    set_aside: HashSet<Seq>,
    /// Numbers that will never be durable. They are few ranges: one each time that another
    /// store took the writing over.
    given_up: Vec<RangeInclusive<Seq>>,
    ended: Option<Outcome>,
}

impl Waits {
    /// The highest number such that it and all before it are committed.
    pub(crate) fn durable(&self) -> Seq {
        // Pairs with `publish`: who sees the number sees what was done before it.
        self.durable.load(Acquire)
    }

    pub(crate) fn wait(&self, seq: Seq, notify: Notify<Outcome>) -> Waiting {
        let mut state = self.state.lock();
        // Looked at under the lock that `publish` takes to raise it, so that no number slips
        // past between the look and the entry.
        if let Some(outcome) = state.outcome(seq, self.durable()) {
            return Waiting::Over(outcome);
        }
        let id = WaitId { seq, nonce: state.next_nonce };
        state.next_nonce += 1;
        state.waiting.insert(id, notify);
        Waiting::Until(id)
    }

    /// Takes a wait back; false when its notification is on its way.
    pub(crate) fn cancel(&self, id: WaitId) -> bool {
        self.state.lock().waiting.remove(&id).is_some()
    }

    /// Raises the durable number and tells everybody it has reached.
    pub(crate) fn publish(&self, durable: Seq, set_aside: &[Seq]) {
        let told = {
            let mut state = self.state.lock();
            state.set_aside.extend(set_aside);
            self.durable.store(durable, Release);
            let beyond = WaitId { seq: durable + 1, nonce: 0 };
            let still = state.waiting.split_off(&beyond);
            std::mem::replace(&mut state.waiting, still)
        };
        for (id, notify) in told {
            notify(match set_aside.contains(&id.seq) {
                true => Outcome::SetAside,
                false => Outcome::Durable,
            });
        }
    }

    /// No number will be raised any more: tells everybody why.
    pub(crate) fn end(&self, outcome: Outcome) {
        let told = {
            let mut state = self.state.lock();
            state.ended = Some(outcome);
            std::mem::take(&mut state.waiting)
        };
        for notify in told.into_values() {
            notify(outcome);
        }
    }

    /// Whether this number never will be durable.
    pub(crate) fn gave_up(&self, seq: Seq) -> bool {
        self.state.lock().is_given_up(seq)
    }

    /// All numbers up to this one that are not durable never will be, however far the
    /// durable number gets.
    pub(crate) fn give_up(&self, last: Seq) {
        let told = {
            let mut state = self.state.lock();
            let first = self.durable() + 1;
            if first <= last {
                state.given_up.push(first..=last);
                // Changes from here on are numbered from there.
                self.durable.store(last, Release);
            }
            let beyond = WaitId { seq: last + 1, nonce: 0 };
            let still = state.waiting.split_off(&beyond);
            std::mem::replace(&mut state.waiting, still)
        };
        for notify in told.into_values() {
            notify(Outcome::Fenced);
        }
    }
}

impl Waiters {
    fn is_given_up(&self, seq: Seq) -> bool {
        self.given_up.iter().any(|numbers| numbers.contains(&seq))
    }

    /// How a wait for this number is over, if it is.
    fn outcome(&self, seq: Seq, durable: Seq) -> Option<Outcome> {
        if self.is_given_up(seq) {
            return Some(Outcome::Fenced);
        }
        if seq > durable {
            return self.ended;
        }
        match self.set_aside.contains(&seq) {
            true => Some(Outcome::SetAside),
            false => Some(Outcome::Durable),
        }
    }
}
