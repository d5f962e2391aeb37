//! Waiting for numbers.

use rustler::{Atom, Encoder, Env, Reference, ResourceArc, Term};
use shape_store::Waiting;

use crate::{
    atoms,
    messenger::Caller,
    resource::{StoreArg, StoreResource},
    take_back::Owed,
};

/// The outcome, or `{:wait, owed}` when `{ref, outcome}` will come.
#[rustler::nif]
fn wait<'a>(
    env: Env<'a>,
    store: ResourceArc<StoreResource>,
    seq: u64,
    reference: Reference<'_>,
) -> Term<'a> {
    let caller = Caller::new(env, reference);
    let notify = move |outcome| caller.answer(move |env| atoms::outcome(outcome).encode(env));
    match store.store.wait(seq, Box::new(notify)) {
        Waiting::Over(outcome) => atoms::outcome(outcome).encode(env),
        Waiting::Until(id) => {
            let owed = Owed::in_line(move || store.store.cancel_wait(id));
            (atoms::wait(), owed).encode(env)
        }
    }
}

/// The number of the last change.
#[rustler::nif]
fn last(store: StoreArg<'_>) -> u64 {
    store.store.last()
}

/// Lets the writer go that far even while it is held.
#[rustler::nif]
fn flush_to(store: StoreArg<'_>, seq: u64) -> Atom {
    store.store.flush_to(seq);
    atoms::ok()
}

#[rustler::nif]
fn pause(store: StoreArg<'_>, paused: bool) -> Atom {
    store.store.pause(paused);
    atoms::ok()
}
