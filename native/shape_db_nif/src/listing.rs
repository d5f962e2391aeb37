//! Listing: a cursor over the shapes there were when it was opened, read in
//! pieces. What went since is left out, what was added again is what it is now.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustler::{Binary, Encoder, Env, NifResult, Reference, Resource, ResourceArc, Term};
use shape_store::{Body, Dictionary, Found, Oid, Place, ReadError};

use crate::{
    atoms,
    items::Items,
    lookups::{consume, is_complete, readable, unpacked, unread},
    owed::Owed,
    parser::Parser,
    permits::Permit,
    resource::{StoreArg, StoreResource, binary},
};

/// A piece ends with the shape that brings it to so many bytes: as terms they take some
/// times as much, until they are folded.
const PIECE_BYTES: usize = 2 << 20;

pub(crate) struct Cursor {
    places: Vec<Place>,
    next: AtomicUsize,
}

#[rustler::resource_impl]
impl Resource for Cursor {}

impl Cursor {
    /// Where the next piece starts, and that piece.
    pub(crate) fn piece(&self, len: u16) -> (usize, &[Place]) {
        let start = self.next.load(Relaxed).min(self.places.len());
        let end = start.saturating_add(usize::from(len.max(1))).min(self.places.len());
        (start, self.places.get(start..end).unwrap_or_default())
    }

    /// All before this place is done with.
    pub(crate) fn move_to(&self, next: usize) {
        self.next.fetch_max(next, Relaxed);
    }
}

/// A cursor over all shapes, in no order.
#[rustler::nif(schedule = "DirtyCpu")]
fn cursor<'a>(env: Env<'a>, store: StoreArg<'_>) -> Term<'a> {
    readable!(env, store);
    let places = store.store.places();
    ResourceArc::new(Cursor { places, next: AtomicUsize::new(0) }).encode(env)
}

/// As many cursors, each over a part of the shapes: for as many readers.
#[rustler::nif(schedule = "DirtyCpu")]
fn cursors<'a>(env: Env<'a>, store: StoreArg<'_>, parts: u16) -> Term<'a> {
    readable!(env, store);
    let places = store.store.places();
    let part = places.len().div_ceil(usize::from(parts.max(1))).max(1);
    let cursor = |places: &[Place]| {
        ResourceArc::new(Cursor { places: places.to_vec(), next: AtomicUsize::new(0) })
    };
    places.chunks(part).map(cursor).collect::<Vec<_>>().encode(env)
}

/// The next `{handle, hash, complete?}`, about `len` of them; `:done` after the
/// last.
#[rustler::nif]
fn next_meta<'a>(env: Env<'a>, store: StoreArg<'_>, cursor: &Cursor, len: u16) -> Term<'a> {
    let meta = |place| {
        let entry = store.store.entry_at(place)?;
        Some((binary(env, &place.handle), entry.hash, is_complete(entry.snapshot)).encode(env))
    };
    let (start, places) = cursor.piece(len);
    if places.is_empty() {
        return atoms::done().encode(env);
    }
    consume(env, places.len());
    let metas = places.iter().filter_map(meta).collect::<Vec<_>>();
    // Asked afterwards: a shape that a closing store lacks is not gone, it cannot be read.
    readable!(env, store);
    cursor.move_to(start + places.len());
    metas.encode(env)
}

/// `{:ok, items}`, the next of `{handle, shape}`, up to `len` and to a bound in bytes;
/// `:done` after the last, or `{:error, reason}`. In place of a shape that went in the
/// meantime there is `nil`, and its body in place of one that only the VM can parse, if
/// anybody. Uses the permit up.
#[rustler::nif(schedule = "DirtyIo")]
fn next_shapes<'a>(
    env: Env<'a>,
    store: StoreArg<'_>,
    cursor: &Cursor,
    len: u16,
    permit: &Permit,
) -> Term<'a> {
    let (start, places) = cursor.piece(len);
    if places.is_empty() {
        permit.give_back();
        return atoms::done().encode(env);
    }
    let mut parser = Parser::new(env);
    let mut items = Vec::with_capacity(places.len());
    let mut bytes = 0;
    let read = store.store.read_places(places, |place, body| {
        bytes += body.map_or(0, <[u8]>::len);
        items.push((binary(env, &place.handle), shape(env, &mut parser, place.table, body)));
        bytes < PIECE_BYTES
    });
    permit.give_back();
    if let Err(error) = read {
        return unread(env, &error);
    }
    readable!(env, store);
    cursor.move_to(start + items.len());
    (atoms::ok(), items).encode(env)
}

/// The same for a store with one connection, in two steps: the bodies by a message
/// `{ref, answer}`, with `{:ok, [{handle, table, body}]}`, for `parse_shapes`. Who has the
/// connection on loan gets `:cold` instead of what they would wait for.
#[rustler::nif]
fn ask_shapes(
    env: Env<'_>,
    store: ResourceArc<StoreResource>,
    cursor: ResourceArc<Cursor>,
    len: u16,
    waits: bool,
    reference: Reference<'_>,
) -> ResourceArc<Owed> {
    let (owed, answer) = Owed::answered(env, reference);
    let (start, places) = cursor.piece(len);
    let places = places.to_vec();
    if places.is_empty() {
        answer.send(|env| atoms::done().encode(env));
        return owed;
    }
    consume(env, places.len());
    let found: Vec<_> = places.iter().map(|place| store.store.body_at(place)).collect();
    let cold = |found: &Option<Found>| match found {
        Some(Found::Cold(entry)) => Some(entry.clone()),
        _ => None,
    };
    let entries: Vec<_> = found.iter().filter_map(cold).collect();
    if !waits && !entries.is_empty() {
        answer.send(|env| atoms::cold().encode(env));
        return owed;
    }
    let asked = store.clone();
    let answer = move |read: Result<_, ReadError>| {
        let piece = read.map(|read| {
            let items = piece(places, found, read);
            cursor.move_to(start + items.len());
            items
        });
        answer.send(move |env| {
            readable!(env, asked);
            match piece {
                Ok(items) => bodies(env, asked.store.dictionary(), items),
                Err(error) => unread(env, &error),
            }
        });
    };
    match entries.is_empty() {
        true => answer(Ok(Vec::new())),
        false => store.store.ask_bodies(entries, Box::new(answer)),
    }
    owed
}

/// The places with their bodies, as far as those were read, and as a piece may have bytes.
fn piece(
    places: Vec<Place>,
    found: Vec<Option<Found>>,
    read: Vec<Option<Body>>,
) -> Vec<(Place, Option<Body>)> {
    let mut read = read.into_iter();
    let mut bytes = 0;
    let mut items = Vec::with_capacity(places.len());
    for (place, found) in places.into_iter().zip(found) {
        let body = match found {
            Some(Found::Warm(body)) => Some(body),
            Some(Found::Cold(_)) => match read.next() {
                Some(body) => body,
                None => break,
            },
            None => None,
        };
        bytes += body.as_ref().map_or(0, Body::size);
        items.push((place, body));
        if bytes >= PIECE_BYTES {
            break;
        }
    }
    items
}

fn bodies<'a>(
    env: Env<'a>,
    dictionary: &Dictionary,
    items: Vec<(Place, Option<Body>)>,
) -> Term<'a> {
    let items = items.iter().map(|(place, body)| {
        let body = body.as_ref().map(|body| unpacked(env, dictionary, body));
        (binary(env, &place.handle), place.table, body)
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
