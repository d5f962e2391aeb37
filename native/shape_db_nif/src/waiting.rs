//! Waiting for numbers.

use rustler::{Atom, Encoder, Env, Reference, Resource, ResourceArc, Term};
use shape_store::{WaitId, Waiting};

use crate::{atoms, messenger::Caller, resource::StoreArg};

/// Names a wait, to take it back.
struct WaitResource(WaitId);

#[rustler::resource_impl]
impl Resource for WaitResource {}

/// The outcome, or `{:wait, wait}` when `{ref, outcome}` will come.
#[rustler::nif]
fn wait<'a>(env: Env<'a>, store: StoreArg<'_>, seq: u64, reference: Reference<'_>) -> Term<'a> {
    let caller = Caller::new(env, reference);
    let notify = move |outcome| caller.answer(move |env| atoms::outcome(outcome).encode(env));
    match store.store.wait(seq, Box::new(notify)) {
        Waiting::Over(outcome) => atoms::outcome(outcome).encode(env),
        Waiting::Until(id) => (atoms::wait(), ResourceArc::new(WaitResource(id))).encode(env),
    }
}

/// False when the outcome is on its way.
#[rustler::nif]
fn cancel_wait(store: StoreArg<'_>, wait: ResourceArc<WaitResource>) -> bool {
    store.store.cancel_wait(wait.0)
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
