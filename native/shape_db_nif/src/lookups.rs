//! Lookups. A store that answers none says so by an atom: `:closed`, `:opening`
//! or `:poisoned`.

use std::cell::Cell;

use rustler::{Atom, Binary, Encoder, Env, Reference, ResourceArc, Term, schedule};
use shape_store::{Body, Digest, Found, ReadBodies, ReadError, Snapshot};

use crate::{
    atoms,
    items::Items,
    resource::{StoreArg, binary},
    stacks::StackArg,
    take_back::Owed,
    terms::COPIED,
};

/// A body up to this size is parsed on a normal scheduler, in about 40 µs.
const SMALL_BODY: usize = 8192;

/// What a read of the file from memory takes, in units of [`consume`].
const READ_AT_ONCE: usize = 60;

/// More handles than this are not collected on a normal scheduler.
const FEW: usize = 1000;

thread_local! {
    /// Work of this scheduler that was too little to report.
    static UNTOLD: Cell<usize> = const { Cell::new(0) };
}

/// Tells the scheduler about work of about 100 ns for each of `items`. A hundredth of a
/// timeslice is the least it takes, and 10 µs: what is less goes on account.
pub(crate) fn consume(env: Env<'_>, items: usize) {
    let items = UNTOLD.get() + items;
    UNTOLD.set(items % 100);
    let percent = (items / 100).min(100);
    if percent > 0 {
        schedule::consume_timeslice(env, percent as i32);
    }
}

macro_rules! readable {
    ($env:expr, $store:expr) => {
        match $store.readable() {
            Ok(store) => store,
            Err(why) => return why.encode($env),
        }
    };
}
pub(crate) use readable;

/// `{:ok, handle} | :error`
#[rustler::nif]
fn handle_for<'a>(env: Env<'a>, stack: StackArg<'_>, comparable: Binary<'_>) -> Term<'a> {
    by_comparable(env, &stack, &comparable)
}

/// The same for one that takes long to hash.
#[rustler::nif(schedule = "DirtyCpu")]
fn handle_for_large<'a>(env: Env<'a>, stack: StackArg<'_>, comparable: Binary<'_>) -> Term<'a> {
    by_comparable(env, &stack, &comparable)
}

fn by_comparable<'a>(env: Env<'a>, stack: &StackArg<'_>, comparable: &[u8]) -> Term<'a> {
    let store = readable!(env, stack);
    match store.store.handle_for(&Digest::of(comparable)) {
        Some(handle) => (atoms::ok(), binary(env, &handle)).encode(env),
        None => atoms::error().encode(env),
    }
}

/// `{:ok, shape} | {:body, body} | :large | :cold | :error`
///
/// A body of usual size is parsed here, which spares the copy; a large one would
/// keep the scheduler too long. What names an atom or function that is not there yet is
/// for the VM to parse.
#[rustler::nif]
fn shape<'a>(env: Env<'a>, stack: StackArg<'_>, handle: Binary<'_>) -> Term<'a> {
    warm(env, &stack, &handle, SMALL_BODY)
}

/// The same, of a body of any size.
#[rustler::nif(schedule = "DirtyCpu")]
fn large_shape<'a>(env: Env<'a>, stack: StackArg<'_>, handle: Binary<'_>) -> Term<'a> {
    warm(env, &stack, &handle, usize::MAX)
}

fn warm<'a>(env: Env<'a>, stack: &StackArg<'_>, handle: &[u8], largest: usize) -> Term<'a> {
    let store = readable!(env, stack);
    let Some(located) = store.store.locate(handle) else { return atoms::error().encode(env) };
    let key = located.key;
    if let Some(kept) = store.terms.get(&store.store, key) {
        consume(env, kept.len / COPIED);
        return (atoms::ok(), kept.copy(env)).encode(env);
    }
    let table = located.entry.oids.first().copied().unwrap_or_default();
    match store.store.body_of(located) {
        Found::Warm(body) => {
            let mut buffer = Vec::new();
            let bytes = store.store.dictionary().unpack(&body, &mut buffer);
            if bytes.len() > largest {
                return atoms::large().encode(env);
            }
            let small = bytes.len() <= SMALL_BODY;
            match small.then(|| store.terms.keep(&store.store, key, table, bytes)).flatten() {
                Some(kept) => {
                    consume(env, bytes.len() / 25);
                    (atoms::ok(), kept.copy(env)).encode(env)
                }
                None => parsed(env, bytes),
            }
        }
        Found::Cold(entry) => {
            store.terms.missed(&store.store);
            let Some(body) = store.store.body_at_once(&entry) else {
                return atoms::cold().encode(env);
            };
            consume(env, READ_AT_ONCE);
            unpacked(env, store, body, largest).unwrap_or_else(|_| atoms::large().encode(env))
        }
    }
}

/// Asks for a body that is not in memory. The message `{ref, :here}` says that `take_body` has
/// the answer. A caller that `has_writer`, the connection that writes on loan, is refused
/// rather than made to wait for itself.
#[rustler::nif]
fn ask_body(
    env: Env<'_>,
    store: StoreArg<'_>,
    handle: Binary<'_>,
    has_writer: bool,
    reference: Reference<'_>,
) -> ResourceArc<Owed> {
    let (owed, answer) = Owed::asked(env, reference);
    let asker = answer.asker(has_writer);
    match store.store.body(&handle) {
        Some(Found::Cold(entry)) => {
            store.store.ask_bodies(vec![entry], asker, Box::new(|read| answer.put(read)));
        }
        Some(Found::Warm(body)) => answer.put(ReadBodies::Ok(vec![Some(body)])),
        None => answer.put(ReadBodies::Ok(Vec::new())),
    }
    owed
}

/// `{:ok, shape} | {:body, body} | :large`, `:gone` for a shape that is not there any more,
/// `:borrowed` for one who has the connection that would have to read it, or
/// `{:error, reason}`. After `:large` it can be taken again.
#[rustler::nif]
fn take_body<'a>(env: Env<'a>, store: StoreArg<'_>, owed: &Owed) -> Term<'a> {
    taken(env, store, owed, SMALL_BODY)
}

/// The same, of a body of any size.
#[rustler::nif(schedule = "DirtyCpu")]
fn take_large_body<'a>(env: Env<'a>, store: StoreArg<'_>, owed: &Owed) -> Term<'a> {
    taken(env, store, owed, usize::MAX)
}

fn taken<'a>(env: Env<'a>, store: StoreArg<'_>, owed: &Owed, largest: usize) -> Term<'a> {
    let read = match owed.take::<ReadBodies>() {
        Some(Ok(bodies)) => bodies,
        Some(Err(error)) => return unread(env, &error),
        None => Vec::new(),
    };
    let Some(body) = read.into_iter().next().flatten() else { return atoms::gone().encode(env) };
    unpacked(env, store, body, largest).unwrap_or_else(|body| {
        owed.put_back(ReadBodies::Ok(vec![Some(body)]));
        atoms::large().encode(env)
    })
}

/// What is in a body, or the body if it is too large for that.
fn unpacked<'a>(
    env: Env<'a>,
    store: StoreArg<'_>,
    body: Body,
    largest: usize,
) -> Result<Term<'a>, Body> {
    let mut buffer = Vec::new();
    let bytes = store.store.dictionary().unpack(&body, &mut buffer);
    if bytes.len() > largest { Err(body) } else { Ok(parsed(env, bytes)) }
}

/// `{:ok, term} | {:body, bytes}`
fn parsed<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    // Parsing takes about 4 ns a byte.
    consume(env, bytes.len() / 25);
    match env.binary_to_term(bytes) {
        Some((term, _)) => (atoms::ok(), term).encode(env),
        None => (atoms::body(), binary(env, bytes)).encode(env),
    }
}

/// How many requests for bodies wait for those before them.
#[rustler::nif]
fn waiting_reads(store: StoreArg<'_>) -> usize {
    store.store.waiting_reads()
}

/// The row of the shape that has this handle.
#[rustler::nif]
fn row(store: StoreArg<'_>, handle: Binary<'_>) -> Option<u64> {
    Some(store.store.entry(&handle)?.row)
}

/// Gives up a shape whose definition was read from this row and turned out to be no shape.
#[rustler::nif]
fn lose(store: StoreArg<'_>, handle: Binary<'_>, row: Option<u64>, reason: String) -> Atom {
    if let Some(entry) = store.store.entry(&handle)
        && Some(entry.row) == row
    {
        store.store.lose(&entry, &reason);
    }
    atoms::ok()
}

/// Why something was not read.
pub(crate) fn unread<'a>(env: Env<'a>, error: &ReadError) -> Term<'a> {
    match error {
        ReadError::Closed => atoms::closed().encode(env),
        ReadError::Borrowed => atoms::borrowed().encode(env),
        error => (atoms::error(), error.to_string()).encode(env),
    }
}

#[rustler::nif]
fn is_exclusive(store: StoreArg<'_>) -> bool {
    store.store.is_exclusive()
}

/// `:none | :started | :complete | :error`
#[rustler::nif]
fn snapshot<'a>(env: Env<'a>, stack: StackArg<'_>, handle: Binary<'_>) -> Term<'a> {
    let store = readable!(env, stack);
    let snapshot = store.store.brief(&handle).map(|brief| atoms::snapshot(brief.snapshot));
    snapshot.unwrap_or_else(atoms::error).encode(env)
}

/// `true | false`
#[rustler::nif]
fn handle_exists<'a>(env: Env<'a>, stack: StackArg<'_>, handle: Binary<'_>) -> Term<'a> {
    let store = readable!(env, stack);
    store.store.brief(&handle).is_some().encode(env)
}

/// Those of the handles that no shape has, in their order.
#[rustler::nif]
fn unknown_handles<'a>(env: Env<'a>, store: StoreArg<'_>, handles: Items<Binary<'a>>) -> Term<'a> {
    let store = readable!(env, store);
    let Items(handles) = handles;
    consume(env, handles.len());
    let unknown = handles.into_iter().filter(|handle| store.store.brief(handle).is_none());
    unknown.collect::<Vec<_>>().encode(env)
}

#[rustler::nif]
fn count<'a>(env: Env<'a>, stack: StackArg<'_>) -> Term<'a> {
    let store = readable!(env, stack);
    store.store.count().encode(env)
}

/// Sorted handles, or `:many` when a normal scheduler should not collect them.
#[rustler::nif]
fn handles_for_relations<'a>(env: Env<'a>, stack: StackArg<'_>, oids: Items<u32>) -> Term<'a> {
    let store = readable!(env, stack);
    relations(env, store, &oids.0, FEW)
}

#[rustler::nif(schedule = "DirtyCpu")]
fn all_handles_for_relations<'a>(env: Env<'a>, stack: StackArg<'_>, oids: Items<u32>) -> Term<'a> {
    let store = readable!(env, stack);
    relations(env, store, &oids.0, usize::MAX)
}

fn relations<'a>(env: Env<'a>, store: StoreArg<'_>, oids: &[u32], limit: usize) -> Term<'a> {
    match store.store.handles_for_relations(oids, limit) {
        Some(handles) => {
            consume(env, handles.len());
            // A list is made from its end.
            let none = Term::list_new_empty(env);
            handles.iter().rev().fold(none, |list, handle| list.list_prepend(binary(env, handle)))
        }
        None => atoms::many().encode(env),
    }
}

pub(crate) fn is_complete(snapshot: Snapshot) -> bool {
    snapshot == Snapshot::Complete
}
