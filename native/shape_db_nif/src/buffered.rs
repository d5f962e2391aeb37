//! What is buffered: acknowledged and not committed.

use rustler::{Binary, Encoder, Env, Term};
use shape_store::{Digest, Found};

use crate::{
    atoms,
    lookups::readable,
    resource::{StoreArg, binary},
};

#[rustler::nif]
fn pending_ops(store: StoreArg<'_>) -> usize {
    store.store.pending_ops()
}

/// Buffered adds less buffered removes.
#[rustler::nif]
fn pending_count_diff(store: StoreArg<'_>) -> i64 {
    store.store.pending_count_diff()
}

/// Whether the handle's add or its removal is buffered: `:add | :remove | :unknown`.
#[rustler::nif]
fn pending_change<'a>(env: Env<'a>, store: StoreArg<'_>, handle: Binary<'_>) -> Term<'a> {
    let store = readable!(env, store);
    match store.store.entry(&handle) {
        Some(entry) if store.store.is_pending(&entry) => atoms::add(),
        None if store.store.is_removal_pending(&handle) => atoms::remove(),
        _ => atoms::unknown(),
    }
    .encode(env)
}

/// The body of a shape whose add is buffered: `{:ok, body} | :error`.
#[rustler::nif(schedule = "DirtyCpu")]
fn pending_body<'a>(env: Env<'a>, store: StoreArg<'_>, handle: Binary<'_>) -> Term<'a> {
    let store = readable!(env, store);
    let entry = store.store.entry(&handle).filter(|entry| store.store.is_pending(entry));
    match entry.and_then(|_| store.store.body(&handle)) {
        Some(Found::Warm(body)) => {
            let mut buffer = Vec::new();
            let bytes = store.store.dictionary().unpack(&body, &mut buffer);
            (atoms::ok(), binary(env, bytes)).encode(env)
        }
        _ => atoms::error().encode(env),
    }
}

/// The handle of a shape whose add is buffered: `{:ok, handle} | :error`.
#[rustler::nif(schedule = "DirtyCpu")]
fn pending_handle<'a>(env: Env<'a>, store: StoreArg<'_>, comparable: Binary<'_>) -> Term<'a> {
    let store = readable!(env, store);
    let handle = store.store.handle_for(&Digest::of(&comparable));
    let entry = handle.and_then(|handle| store.store.entry(&handle));
    match entry.filter(|entry| store.store.is_pending(entry)) {
        Some(entry) => (atoms::ok(), binary(env, &entry.handle)).encode(env),
        None => atoms::error().encode(env),
    }
}

/// `{handle, oids}` of every shape whose add is buffered; also of a closing store,
/// whose remains are named.
#[rustler::nif(schedule = "DirtyCpu")]
fn pending_shapes<'a>(env: Env<'a>, store: StoreArg<'_>) -> Term<'a> {
    let entries = store.store.pending_entries();
    let shapes = entries.iter().map(|entry| (binary(env, &entry.handle), entry.oids.to_vec()));
    shapes.collect::<Vec<_>>().encode(env)
}

/// The handles without a shape whose removal is buffered.
#[rustler::nif(schedule = "DirtyCpu")]
fn pending_removals<'a>(env: Env<'a>, store: StoreArg<'_>) -> Term<'a> {
    let handles = store.store.pending_removals();
    handles.iter().map(|handle| binary(env, handle)).collect::<Vec<_>>().encode(env)
}

/// Names what is not committed in a file beside the database: `{:ok, path, count}`, `nil`
/// when there is nothing to name, or `{:error, reason}`.
#[rustler::nif(schedule = "DirtyIo")]
fn list_pending<'a>(env: Env<'a>, store: StoreArg<'_>) -> Term<'a> {
    match store.store.list_pending() {
        Ok(Some((path, count))) => {
            (atoms::ok(), binary(env, path.as_os_str().as_encoded_bytes()), count).encode(env)
        }
        Ok(None) => atoms::nil().encode(env),
        Err(error) => (atoms::error(), error.to_string()).encode(env),
    }
}
