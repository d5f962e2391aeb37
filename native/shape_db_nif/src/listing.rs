//! Listing: a cursor over the shapes there were when it was opened, read in
//! pieces. What went since is left out, what was added again is what it is now.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustler::{Binary, Encoder, Env, NifResult, Reference, Resource, ResourceArc, Term};
use shape_store::{Body, Found, Place, ReadBodies, ReadError};

use crate::{
    atoms,
    items::Items,
    lookups::{consume, is_complete, readable, unread},
    parser::Parser,
    resource::{StoreArg, StoreResource, binary},
    take_back::Owed,
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

/// Asks for the next shapes of a cursor, up to `len` and to a bound in bytes. The message
/// `{ref, :here}` says that `take_shapes` has them. For `has_writer` see `ask_body`.
#[rustler::nif]
fn ask_shapes(
    env: Env<'_>,
    store: ResourceArc<StoreResource>,
    cursor: ResourceArc<Cursor>,
    len: u16,
    has_writer: bool,
    reference: Reference<'_>,
) -> ResourceArc<Owed> {
    let (owed, answer) = Owed::asked(env, reference);
    let (start, places) = cursor.piece(len);
    let places = places.to_vec();
    consume(env, places.len());
    let found: Vec<_> = places.iter().map(|place| store.store.body_at(place)).collect();
    let cold = |found: &Option<Found>| match found {
        Some(Found::Cold(entry)) => Some(entry.clone()),
        _ => None,
    };
    let entries: Vec<_> = found.iter().filter_map(cold).collect();
    let asker = answer.asker(has_writer);
    let answer = move |read: ReadBodies| {
        answer.put(read.map(|read| {
            let items = items(places, found, read);
            Piece { next: start + items.len(), items, cursor }
        }));
    };
    match entries.is_empty() {
        true => answer(Ok(Vec::new())),
        false => store.store.ask_bodies(entries, asker, Box::new(answer)),
    }
    owed
}

/// `{:ok, items}`, or `:done` after the last, `:borrowed` for one who has the connection that
/// would have to read them, or `{:error, reason}`. The items are `{handle, shape}`: with `nil`
/// in place of a shape that went in the meantime, and with its body in place of one that only
/// the VM can parse, if anybody.
#[rustler::nif(schedule = "DirtyCpu")]
fn take_shapes<'a>(env: Env<'a>, store: StoreArg<'_>, owed: &Owed) -> Term<'a> {
    let Piece { items, cursor, next } = match owed.take::<Result<Piece, ReadError>>() {
        Some(Ok(piece)) if !piece.items.is_empty() => piece,
        Some(Err(error)) => return unread(env, &error),
        _ => return atoms::done().encode(env),
    };
    // Asked afterwards: a shape that a closing store lacks is not gone, it cannot be read.
    readable!(env, store);
    cursor.move_to(next);
    let mut parser = Parser::new(env);
    let mut buffer = Vec::new();
    let shape = |(place, body): (Place, Option<Body>)| {
        let shape = body.map(|body| {
            let body = store.store.dictionary().unpack(&body, &mut buffer);
            parser.parse(place.table, body).unwrap_or_else(|| binary(env, body))
        });
        (binary(env, &place.handle), shape)
    };
    (atoms::ok(), items.into_iter().map(shape).collect::<Vec<_>>()).encode(env)
}

/// Places with their bodies, for a cursor that goes on at `next`.
struct Piece {
    items: Vec<(Place, Option<Body>)>,
    cursor: ResourceArc<Cursor>,
    next: usize,
}

/// The places with their bodies, as far as those were read, and as a piece may have bytes.
fn items(
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
