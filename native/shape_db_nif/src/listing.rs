//! Listing: a cursor over the shapes there were when it was opened, read in
//! pieces. What went since is left out, what was added again is what it is now.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustler::{Encoder, Env, Reference, Resource, ResourceArc, Term};
use shape_store::{Body, Found, Place, ReadError};

use crate::{
    atoms,
    lookups::{consume, is_complete, readable, unread},
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
/// its body in place of one that does not parse.
#[rustler::nif(schedule = "DirtyIo")]
fn next_shapes<'a>(env: Env<'a>, store: StoreArg<'_>, cursor: &Cursor, len: u16) -> Term<'a> {
    let places = cursor.piece(usize::from(len.max(1)));
    if places.is_empty() {
        return atoms::done().encode(env);
    }
    let mut parser = Parser::new(env);
    let mut items = Vec::with_capacity(places.len());
    let read = store.store.read_places(places, |place, body| {
        items.push(item(&mut parser, place, body));
    });
    match read {
        Ok(()) => (atoms::ok(), items).encode(env),
        Err(error) => unread(env, &error),
    }
}

/// The same by a message `{ref, answer}`, for a store with one connection.
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
        Some(Found::Cold(row)) => Some(*row),
        _ => None,
    };
    let rows = found.iter().filter_map(cold).collect();
    let notify = move |read| caller.answer(move |env| shapes(env, &places, found, read));
    store.store.ask_bodies(rows, Box::new(notify));
    atoms::ok().encode(env)
}

fn shapes<'a>(
    env: Env<'a>,
    places: &[Place],
    found: Vec<Option<Found>>,
    read: Result<Vec<Option<Body>>, ReadError>,
) -> Term<'a> {
    let mut bodies = match read {
        Ok(bodies) => bodies.into_iter(),
        Err(error) => return unread(env, &error),
    };
    let mut parser = Parser::new(env);
    let items = places.iter().zip(found).map(|(place, found)| {
        let body = match found {
            Some(Found::Warm(body)) => Some(body),
            Some(Found::Cold(_)) => bodies.next().flatten(),
            None => None,
        };
        item(&mut parser, place, body.as_deref())
    });
    (atoms::ok(), items.collect::<Vec<_>>()).encode(env)
}

fn item<'a>(parser: &mut Parser<'a>, place: &Place, body: Option<&[u8]>) -> Term<'a> {
    let env = parser.env();
    let shape = body.map(|body| {
        let shape = parser.parse(place.table, body);
        shape.unwrap_or_else(|| binary(env, body))
    });
    (binary(env, &place.handle), shape).encode(env)
}
