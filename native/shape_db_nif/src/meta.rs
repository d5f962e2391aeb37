//! What the host keeps of each shape: when it was last read, and flags. Times are of the
//! host's monotonic clock in native units, which whoever calls has looked up.

use rustler::{Atom, Binary, Encoder, Env, Term};
use shape_store::{Digest, Meta};

use crate::{
    atoms,
    changes::{SnapshotArg, TicketArg, answer, changeable, reason, with_ticket},
    items::Items,
    listing::Cursor,
    lookups::{consume, readable},
    resource::{StoreArg, binary},
    stacks::StackArg,
};

/// Whether there is such a shape, which was read now.
#[rustler::nif]
fn touch(stack: StackArg<'_>, handle: Binary<'_>, now: i64) -> bool {
    stack.readable().is_ok_and(|store| store.store.touch(&handle, now))
}

/// The same for a time that may be earlier than what is known.
#[rustler::nif]
fn set_last_read(stack: StackArg<'_>, handle: Binary<'_>, time: i64) -> bool {
    stack.readable().is_ok_and(|store| store.store.set_last_read(&handle, time))
}

/// `:ok | :error`, by the host's hash of the shape.
#[rustler::nif]
fn validate<'a>(env: Env<'a>, stack: StackArg<'_>, handle: Binary<'_>, hash: u32) -> Term<'a> {
    let store = readable!(env, stack);
    let found = store.store.brief(&handle);
    valid(found.is_some_and(|brief| brief.hash == hash)).encode(env)
}

/// The same by the whole shape.
#[rustler::nif]
fn validate_shape<'a>(
    env: Env<'a>,
    stack: StackArg<'_>,
    handle: Binary<'_>,
    comparable: Binary<'_>,
) -> Term<'a> {
    is_shape(env, &stack, &handle, &comparable)
}

/// The same for one that takes long to hash.
#[rustler::nif(schedule = "DirtyCpu")]
fn validate_large_shape<'a>(
    env: Env<'a>,
    stack: StackArg<'_>,
    handle: Binary<'_>,
    comparable: Binary<'_>,
) -> Term<'a> {
    is_shape(env, &stack, &handle, &comparable)
}

fn is_shape<'a>(env: Env<'a>, stack: &StackArg<'_>, handle: &[u8], comparable: &[u8]) -> Term<'a> {
    let store = readable!(env, stack);
    let digest = Digest::of(comparable);
    valid(store.store.entry(handle).is_some_and(|entry| entry.digest == digest)).encode(env)
}

fn valid(valid: bool) -> Atom {
    if valid { atoms::ok() } else { atoms::error() }
}

/// `{handle, hash, snapshot, last_read | nil, flags} | :error`
#[rustler::nif]
fn meta<'a>(env: Env<'a>, stack: StackArg<'_>, handle: Binary<'_>) -> Term<'a> {
    let store = readable!(env, stack);
    found(env, store.store.meta(&handle))
}

/// The same of the shape with this comparable, having noted that it was read, if a time
/// came with it.
#[rustler::nif]
fn lookup<'a>(
    env: Env<'a>,
    stack: StackArg<'_>,
    comparable: Binary<'_>,
    now: Option<i64>,
) -> Term<'a> {
    looked_up(env, &stack, &comparable, now)
}

/// The same for one that takes long to hash.
#[rustler::nif(schedule = "DirtyCpu")]
fn lookup_large<'a>(
    env: Env<'a>,
    stack: StackArg<'_>,
    comparable: Binary<'_>,
    now: Option<i64>,
) -> Term<'a> {
    looked_up(env, &stack, &comparable, now)
}

fn looked_up<'a>(
    env: Env<'a>,
    stack: &StackArg<'_>,
    comparable: &[u8],
    now: Option<i64>,
) -> Term<'a> {
    let store = readable!(env, stack);
    found(env, store.store.lookup(&Digest::of(comparable), now))
}

fn found(env: Env<'_>, meta: Option<Meta>) -> Term<'_> {
    meta.map_or_else(|| atoms::error().encode(env), |meta| whole(env, &meta))
}

fn whole<'a>(env: Env<'a>, meta: &Meta) -> Term<'a> {
    let entry = &meta.entry;
    let snapshot = atoms::snapshot(entry.snapshot);
    (binary(env, &entry.handle), entry.hash, snapshot, meta.read, entry.flags).encode(env)
}

/// The next of a cursor as `meta` gives them, about `len` of them; `:done` after the last.
#[rustler::nif]
fn next_whole_meta<'a>(env: Env<'a>, store: StoreArg<'_>, cursor: &Cursor, len: u16) -> Term<'a> {
    let (start, places) = cursor.piece(len);
    if places.is_empty() {
        return atoms::done().encode(env);
    }
    consume(env, places.len());
    let metas = places.iter().filter_map(|place| store.store.meta_at(place));
    let metas = metas.map(|meta| whole(env, &meta)).collect::<Vec<_>>();
    // Asked afterwards: a shape that a closing store lacks is not gone, it cannot be read.
    let _ = readable!(env, store);
    cursor.move_to(start + places.len());
    metas.encode(env)
}

/// `{handles, time}`: least recent first, and when the last of them was read.
#[rustler::nif(schedule = "DirtyCpu")]
fn least_recently_used<'a>(env: Env<'a>, stack: StackArg<'_>, n: usize, now: i64) -> Term<'a> {
    let store = readable!(env, stack);
    let coldest = store.store.least_recently_read(n, now);
    let handles: Vec<_> = coldest.handles.iter().map(|handle| binary(env, handle)).collect();
    (handles, coldest.last_read).encode(env)
}

/// `:ok | {:error, reason}`
#[rustler::nif]
fn mark_in_memory<'a>(
    env: Env<'a>,
    stack: StackArg<'_>,
    handle: Binary<'_>,
    snapshot: SnapshotArg,
) -> Term<'a> {
    let store = match stack.readable() {
        Ok(store) => store,
        Err(why) => return (atoms::error(), why).encode(env),
    };
    match store.store.mark_in_memory(&handle, snapshot.into()) {
        Ok(()) => atoms::ok().encode(env),
        Err(error) => (atoms::error(), reason(env, error)).encode(env),
    }
}

#[rustler::nif]
fn set_flags<'a>(
    env: Env<'a>,
    stack: StackArg<'_>,
    handle: Binary<'_>,
    flags: u8,
    ticket: TicketArg<'_>,
) -> Term<'a> {
    let store = changeable!(env, stack);
    let set = |request: shape_store::Request<'_>| store.store.set_flags(&handle, flags, request);
    answer(env, with_ticket(&ticket, false, set))
}

/// Sets those of `{handle, flags}` that are other than they were.
#[rustler::nif(schedule = "DirtyCpu")]
fn set_many_flags<'a>(
    env: Env<'a>,
    store: StoreArg<'_>,
    flags: Items<(Binary<'a>, u8)>,
) -> Term<'a> {
    let flags: Vec<_> = flags.0.iter().map(|(handle, flags)| (handle.as_slice(), *flags)).collect();
    answer(env, store.store.set_many_flags(&flags))
}

#[rustler::nif]
fn count_by_flags<'a>(env: Env<'a>, stack: StackArg<'_>, mask: u8, value: u8) -> Term<'a> {
    let store = readable!(env, stack);
    store.store.count_by_flags(mask, value).encode(env)
}

/// Sorted handles.
#[rustler::nif(schedule = "DirtyCpu")]
fn handles_by_flags<'a>(env: Env<'a>, stack: StackArg<'_>, mask: u8, value: u8) -> Term<'a> {
    let store = readable!(env, stack);
    let handles = store.store.handles_by_flags(mask, value);
    handles.iter().map(|handle| binary(env, handle)).collect::<Vec<_>>().encode(env)
}

/// What the flags in the file mean, or `nil`.
#[rustler::nif]
fn flags_version(store: StoreArg<'_>) -> Option<String> {
    store.store.flags_version()
}

/// Says what the flags mean, which were all set before.
#[rustler::nif]
fn set_flags_version<'a>(env: Env<'a>, store: StoreArg<'_>, version: &str) -> Term<'a> {
    answer(env, store.store.set_flags_version(version))
}
