//! Permits for cold reads.
//!
//! A read of a stalled disk holds a dirty I/O thread, of which the VM has ten or so for
//! all that it does with files. So no more than some of them read bodies at a time, in
//! all stacks together. Others wait in line, first come, first served, without holding
//! anything.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use parking_lot::Mutex;
use rustler::{Atom, Encoder, Env, Reference, Resource, ResourceArc, Term};

use crate::{atoms, messenger::Caller, owed::Owed};

struct Line {
    /// How many permits there may be; half of the default of Erlang's `+SDio`.
    limit: usize,
    given: usize,
    waiting: BTreeMap<u64, Caller>,
    next: u64,
}

static LINE: Mutex<Line> =
    Mutex::new(Line { limit: 5, given: 0, waiting: BTreeMap::new(), next: 0 });

/// The right to read. It is given back when the read is done, and at the latest with its
/// process, whether that has it already or not.
pub(crate) struct Permit(AtomicBool);

#[rustler::resource_impl]
impl Resource for Permit {}

impl Permit {
    fn new() -> ResourceArc<Self> {
        ResourceArc::new(Self(AtomicBool::new(true)))
    }

    /// Lets the next one read.
    pub(crate) fn give_back(&self) {
        if self.0.swap(false, Relaxed) {
            let mut line = LINE.lock();
            line.given -= 1;
            line.admit();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Line {
    fn admit(&mut self) {
        while self.given < self.limit
            && let Some((_, caller)) = self.waiting.pop_first()
        {
            self.given += 1;
            let permit = Permit::new();
            caller.answer(move |env| permit.encode(env));
        }
    }
}

/// `{:ok, permit}`, or `{:wait, owed}` when `{ref, permit}` will come.
#[rustler::nif]
fn ask_permit<'a>(env: Env<'a>, reference: Reference<'_>) -> Term<'a> {
    let mut line = LINE.lock();
    if line.given < line.limit && line.waiting.is_empty() {
        line.given += 1;
        return (atoms::ok(), Permit::new()).encode(env);
    }
    let number = line.next;
    line.next += 1;
    line.waiting.insert(number, Caller::new(env, reference));
    let owed = Owed::new(move || LINE.lock().waiting.remove(&number).is_some());
    (atoms::wait(), owed).encode(env)
}

#[rustler::nif]
fn give_permit_back(permit: &Permit) -> Atom {
    permit.give_back();
    atoms::ok()
}

/// Sets how many permits there are; gives how many there were.
#[rustler::nif]
fn limit_permits(limit: usize) -> usize {
    let mut line = LINE.lock();
    let before = std::mem::replace(&mut line.limit, limit.max(1));
    line.admit();
    before
}

/// How many are given, and how many stand in line.
#[rustler::nif]
fn permits() -> (usize, usize) {
    let line = LINE.lock();
    (line.given, line.waiting.len())
}
