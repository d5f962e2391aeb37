//! Lookups. A store that answers none says so by an atom: `:closed`, `:opening`
//! or `:poisoned`.

use rustler::{Binary, Encoder, Env, Reference, Term};
use shape_store::{Body, Digest, Found, ReadError, Snapshot};

use crate::{
    atoms,
    messenger::Caller,
    resource::{StoreArg, binary},
};

/// More handles than this are not collected on a normal scheduler.
const FEW: usize = 1000;

macro_rules! readable {
    ($env:expr, $store:expr) => {
        if let Some(why) = $store.unreadable() {
            return why.encode($env);
        }
    };
}
pub(crate) use readable;

/// `{:ok, handle} | :error`
#[rustler::nif]
fn handle_for<'a>(env: Env<'a>, store: StoreArg, comparable: Binary<'_>) -> Term<'a> {
    readable!(env, store);
    match store.store.handle_for(&Digest::of(&comparable)) {
        Some(handle) => (atoms::ok(), binary(env, &handle)).encode(env),
        None => atoms::error().encode(env),
    }
}

/// `{:ok, body} | {:cold, row} | :error`
#[rustler::nif]
fn body<'a>(env: Env<'a>, store: StoreArg, handle: Binary<'_>) -> Term<'a> {
    readable!(env, store);
    match store.store.body(&handle) {
        Some(Found::Warm(body)) => (atoms::ok(), binary(env, &body)).encode(env),
        Some(Found::Cold(row)) => (atoms::cold(), row).encode(env),
        None => atoms::error().encode(env),
    }
}

/// `{:ok, bodies}`, `nil` for each row that is gone, or `{:error, reason}`.
#[rustler::nif(schedule = "DirtyIo")]
fn read_bodies<'a>(env: Env<'a>, store: StoreArg, rows: Vec<u64>) -> Term<'a> {
    bodies(env, &store.store.read_bodies(&rows))
}

/// The same by a message `{ref, answer}`, for a store with one connection.
#[rustler::nif]
fn ask_bodies<'a>(
    env: Env<'a>,
    store: StoreArg,
    rows: Vec<u64>,
    reference: Reference<'_>,
) -> Term<'a> {
    let caller = Caller::new(env, reference);
    let notify = move |read| caller.answer(move |env| bodies(env, &read));
    store.store.ask_bodies(rows, Box::new(notify));
    atoms::ok().encode(env)
}

fn bodies<'a>(env: Env<'a>, read: &Result<Vec<Option<Body>>, ReadError>) -> Term<'a> {
    match read {
        Ok(bodies) => {
            let bodies = bodies.iter().map(|body| body.as_ref().map(|body| binary(env, body)));
            (atoms::ok(), bodies.collect::<Vec<_>>()).encode(env)
        }
        Err(ReadError::Closed) => atoms::closed().encode(env),
        Err(error) => (atoms::error(), error.to_string()).encode(env),
    }
}

#[rustler::nif]
fn is_exclusive(store: StoreArg) -> bool {
    store.store.is_exclusive()
}

/// `:none | :started | :complete | :error`
#[rustler::nif]
fn snapshot<'a>(env: Env<'a>, store: StoreArg, handle: Binary<'_>) -> Term<'a> {
    readable!(env, store);
    let snapshot = store.store.entry(&handle).map(|entry| atoms::snapshot(entry.snapshot));
    snapshot.unwrap_or_else(atoms::error).encode(env)
}

/// `true | false`
#[rustler::nif]
fn handle_exists<'a>(env: Env<'a>, store: StoreArg, handle: Binary<'_>) -> Term<'a> {
    readable!(env, store);
    store.store.entry(&handle).is_some().encode(env)
}

/// Those of the handles that no shape has, in their order.
#[rustler::nif]
fn unknown_handles<'a>(env: Env<'a>, store: StoreArg, handles: Vec<Binary<'a>>) -> Term<'a> {
    readable!(env, store);
    let unknown = handles.into_iter().filter(|handle| store.store.entry(handle).is_none());
    unknown.collect::<Vec<_>>().encode(env)
}

#[rustler::nif]
fn count<'a>(env: Env<'a>, store: StoreArg) -> Term<'a> {
    readable!(env, store);
    store.store.count().encode(env)
}

/// Sorted handles, or `:many` when a normal scheduler should not collect them.
#[rustler::nif]
fn handles_for_relations<'a>(env: Env<'a>, store: StoreArg, oids: Vec<u32>) -> Term<'a> {
    readable!(env, store);
    relations(env, &store, &oids, FEW)
}

#[rustler::nif(schedule = "DirtyCpu")]
fn all_handles_for_relations<'a>(env: Env<'a>, store: StoreArg, oids: Vec<u32>) -> Term<'a> {
    readable!(env, store);
    relations(env, &store, &oids, usize::MAX)
}

fn relations<'a>(env: Env<'a>, store: &StoreArg, oids: &[u32], limit: usize) -> Term<'a> {
    match store.store.handles_for_relations(oids, limit) {
        Some(handles) => {
            handles.iter().map(|handle| binary(env, handle)).collect::<Vec<_>>().encode(env)
        }
        None => atoms::many().encode(env),
    }
}

pub(crate) fn is_complete(snapshot: Snapshot) -> bool {
    snapshot == Snapshot::Complete
}
