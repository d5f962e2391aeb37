//! Listing: a cursor over the shapes there were when it was opened, read in
//! pieces. What went since is left out, what was added again is what it is now.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use rustler::{Binary, Encoder, Env, NifResult, Reference, Resource, ResourceArc, Term};
use shape_store::{Bodies, Dictionary, Found, Oid, Place};

use crate::{
    atoms,
    items::Items,
    lookups::{consume, is_complete, readable, unpacked, unread},
    messenger::Caller,
    parser::Parser,
    resource::{StoreArg, binary},
};

struct Cursor {
    places: Vec<Place>,
    next: AtomicUsize,
}

#[rustler::resource_impl]
impl Resource for Cursor {}

impl Cursor {
    /// The last piece is still to be read.
    fn go_back(&self, len: usize) {
        self.next.fetch_sub(len, Relaxed);
    }

    fn piece(&self, len: usize) -> &[Place] {
        let start = self.next.fetch_add(len, Relaxed).min(self.places.len());
        let end = start.saturating_add(len).min(self.places.len());
        self.places.get(start..end).unwrap_or_default()
    }
}

/// A cursor over all shapes, in no order.
#[rustler::nif(schedule = "DirtyCpu")]
fn cursor<'a>(env: Env<'a>, store: StoreArg<'_>) -> Term<'a> {
    readable!(env, store);
    let places = store.store.places();
    ResourceArc::new(Cursor { places, next: AtomicUsize::new(0) }).encode(env)
}

/// The next `{handle, hash, complete?}`, about `len` of them; `:done` after the
/// last.
#[rustler::nif]
fn next_meta<'a>(env: Env<'a>, store: StoreArg<'_>, cursor: &Cursor, len: u16) -> Term<'a> {
    let meta = |place| {
        let entry = store.store.entry_at(place)?;
        Some((binary(env, &place.handle), entry.hash, is_complete(entry.snapshot)).encode(env))
    };
    match cursor.piece(usize::from(len.max(1))) {
        [] => atoms::done().encode(env),
        places => {
            consume(env, places.len());
            places.iter().filter_map(meta).collect::<Vec<_>>().encode(env)
        }
    }
}

/// `{:ok, items}`, the next `len` of `{handle, shape}`; `:done` after the last, or
/// `{:error, reason}`. In place of a shape that went in the meantime there is `nil`, and
/// its body in place of one that only the VM can parse, if anybody.
#[rustler::nif(schedule = "DirtyIo")]
fn next_shapes<'a>(env: Env<'a>, store: StoreArg<'_>, cursor: &Cursor, len: u16) -> Term<'a> {
    let places = cursor.piece(usize::from(len.max(1)));
    if places.is_empty() {
        return atoms::done().encode(env);
    }
    let mut parser = Parser::new(env);
    let mut items = Vec::with_capacity(places.len());
    let read = store.store.read_places(places, |place, body| {
        items.push((binary(env, &place.handle), shape(env, &mut parser, place.table, body)));
    });
    match read {
        Ok(()) => (atoms::ok(), items).encode(env),
        Err(error) => {
            cursor.go_back(places.len());
            unread(env, &error)
        }
    }
}

/// The same for a store with one connection, in two steps: the bodies by a message
/// `{ref, answer}`, with `{:ok, [{handle, table, body}]}`, for `parse_shapes`.
#[rustler::nif]
fn ask_shapes<'a>(
    env: Env<'a>,
    store: StoreArg<'_>,
    cursor: &Cursor,
    len: u16,
    reference: Reference<'_>,
) -> Term<'a> {
    let caller = Caller::new(env, reference);
    let places = cursor.piece(usize::from(len.max(1))).to_vec();
    if places.is_empty() {
        caller.answer(|env| atoms::done().encode(env));
        return atoms::ok().encode(env);
    }
    consume(env, places.len());
    let found: Vec<_> = places.iter().map(|place| store.store.body_at(place)).collect();
    let cold = |found: &Option<Found>| match found {
        Some(Found::Cold(entry)) => Some(entry.clone()),
        _ => None,
    };
    let entries: Vec<_> = found.iter().filter_map(cold).collect();
    let dictionary = Arc::clone(store.store.dictionary());
    let answer =
        move |read| caller.answer(move |env| bodies(env, &dictionary, &places, found, read));
    match entries.is_empty() {
        true => answer(Ok(Vec::new())),
        false => store.store.ask_bodies(entries, Box::new(answer)),
    }
    atoms::ok().encode(env)
}

fn bodies<'a>(
    env: Env<'a>,
    dictionary: &Dictionary,
    places: &[Place],
    found: Vec<Option<Found>>,
    read: Bodies,
) -> Term<'a> {
    let mut read = match read {
        Ok(bodies) => bodies.into_iter(),
        Err(error) => return unread(env, &error),
    };
    let items = places.iter().zip(found).map(|(place, found)| {
        let body = match found {
            Some(Found::Warm(body)) => Some(body),
            Some(Found::Cold(_)) => read.next().flatten(),
            None => None,
        };
        (binary(env, &place.handle), place.table, body.map(|body| unpacked(env, dictionary, &body)))
    });
    (atoms::ok(), items.collect::<Vec<_>>()).encode(env)
}

/// `{:ok, items}`, as `next_shapes` gives them.
#[rustler::nif(schedule = "DirtyCpu")]
fn parse_shapes<'a>(env: Env<'a>, bodies: Items<(Term<'a>, u32, Option<Binary<'a>>)>) -> Term<'a> {
    let mut parser = Parser::new(env);
    let item = |(handle, table, body): (_, _, Option<Binary<'_>>)| {
        (handle, shape(env, &mut parser, table, body.as_deref()))
    };
    (atoms::ok(), bodies.0.into_iter().map(item).collect::<Vec<_>>()).encode(env)
}

/// The same `{handle, shape}` in the order of their handles. `:lists.keysort/2` compares
/// them one word after the other in the VM's own terms, and leaves lists for the collector.
#[rustler::nif(schedule = "DirtyCpu")]
fn sort_shapes<'a>(env: Env<'a>, shapes: Items<Term<'a>>) -> NifResult<Term<'a>> {
    let handle = |item: Term<'a>| Ok((item.decode::<(Binary<'a>, Term<'a>)>()?.0, item));
    let mut items = shapes.0.into_iter().map(handle).collect::<NifResult<Vec<_>>>()?;
    items.sort_unstable_by(|(one, _), (other, _)| one.as_slice().cmp(other.as_slice()));
    let none = Term::list_new_empty(env);
    Ok(items.into_iter().rev().fold(none, |list, (_, item)| list.list_prepend(item)))
}

fn shape<'a>(
    env: Env<'a>,
    parser: &mut Parser<'a>,
    table: Oid,
    body: Option<&[u8]>,
) -> Option<Term<'a>> {
    body.map(|body| parser.parse(table, body).unwrap_or_else(|| binary(env, body)))
}
