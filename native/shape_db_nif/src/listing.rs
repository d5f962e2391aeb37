//! Listing: a cursor over the shapes there were when it was opened, read in
//! pieces. What went since is left out, what was added again is what it is now.

use std::{
    iter::{Peekable, Zip},
    ops::ControlFlow,
    slice,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use rustler::{Binary, Encoder, Env, NifResult, Reference, Resource, ResourceArc, Term};
use shape_store::{Body, Entry, Found, Place, ReadBodies, ReadError};

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
    let store = readable!(env, store);
    let places = store.store.places();
    ResourceArc::new(Cursor { places, next: AtomicUsize::new(0) }).encode(env)
}

/// As many cursors, each over a part of the shapes: for as many readers.
#[rustler::nif(schedule = "DirtyCpu")]
fn cursors<'a>(env: Env<'a>, store: StoreArg<'_>, parts: u16) -> Term<'a> {
    let store = readable!(env, store);
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
        let brief = store.store.brief_at(place)?;
        Some((binary(env, &place.handle), brief.hash, is_complete(brief.snapshot)).encode(env))
    };
    let (start, places) = cursor.piece(len);
    if places.is_empty() {
        return atoms::done().encode(env);
    }
    consume(env, places.len());
    let metas = places.iter().filter_map(meta).collect::<Vec<_>>();
    // Asked afterwards: a shape that a closing store lacks is not gone, it cannot be read.
    let _ = readable!(env, store);
    cursor.move_to(start + places.len());
    metas.encode(env)
}

/// The next shapes of a cursor, up to `len` and to a bound in bytes, as far as they can be had
/// without waiting: `{:ok, items}`, or `:done` after the last, and `:ask` where [`ask_shapes`]
/// has to get the next one. The items are `{handle, shape}`: with `nil` in place of a shape that
/// went in the meantime, and with its body in place of one that only the VM can parse, if
/// anybody.
#[rustler::nif(schedule = "DirtyCpu")]
fn shapes_at_once<'a>(env: Env<'a>, store: StoreArg<'_>, cursor: &Cursor, len: u16) -> Term<'a> {
    let piece = Piece::next(store, cursor, len);
    let mut list = List::of(env, store, cursor, &piece);
    let cold: Vec<_> = piece.cold().collect();
    if !cold.is_empty() {
        store.store.visit_at_once(&cold, |body| list.push_cold(Some(body)));
    }
    list.push_warm();
    match list.items.is_empty() && !cold.is_empty() {
        true => atoms::ask().encode(env),
        false => list.answer(),
    }
}

/// Asks for the next shapes of a cursor, as many. The message `{ref, :here}` says that
/// `take_shapes` has them. For `has_writer` see `ask_body`.
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
    let piece = Piece::next(&store, &cursor, len);
    consume(env, piece.found.len());
    let cold: Vec<_> = piece.cold().cloned().collect();
    let asker = answer.asker(has_writer);
    let answer = move |read: ReadBodies| {
        answer.put(read.map(|read| Asked { cursor, piece, read }));
    };
    match cold.is_empty() {
        true => answer(Ok(Vec::new())),
        false => store.store.ask_bodies(cold, asker, Box::new(answer)),
    }
    owed
}

/// What was asked for, as `shapes_at_once` gives it, or `:borrowed` for one who has the
/// connection that would have to read it, or `{:error, reason}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn take_shapes<'a>(env: Env<'a>, store: StoreArg<'_>, owed: &Owed) -> Term<'a> {
    let Asked { cursor, piece, read } = match owed.take::<Result<Asked, ReadError>>() {
        Some(Ok(asked)) => asked,
        Some(Err(error)) => return unread(env, &error),
        None => return atoms::done().encode(env),
    };
    let mut list = List::of(env, store, &cursor, &piece);
    let mut buffer = Vec::new();
    for body in &read {
        let body = body.as_ref().map(|body| store.store.dictionary().unpack(body, &mut buffer));
        if list.push_cold(body).is_break() {
            break;
        }
    }
    list.push_warm();
    list.answer()
}

/// The shapes that are next in a cursor, from a place on, as far as memory has them: `None` for
/// one that went.
struct Piece {
    start: usize,
    found: Vec<Option<Found>>,
}

impl Piece {
    fn next(store: &StoreResource, cursor: &Cursor, len: u16) -> Self {
        let (start, places) = cursor.piece(len);
        Self { start, found: places.iter().map(|place| store.store.body_at(place)).collect() }
    }

    /// Those whose bodies are to be read.
    fn cold(&self) -> impl Iterator<Item = &Entry> {
        self.found.iter().filter_map(|found| match found {
            Some(Found::Cold(entry)) => Some(entry),
            _ => None,
        })
    }
}

/// A piece that was asked for: bodies of the first of those that were cold.
struct Asked {
    cursor: ResourceArc<Cursor>,
    piece: Piece,
    read: Vec<Option<Body>>,
}

/// The items of a piece, as they become terms one after the other.
struct List<'a, 's> {
    env: Env<'a>,
    store: StoreArg<'s>,
    cursor: &'s Cursor,
    start: usize,
    rest: Peekable<Zip<slice::Iter<'s, Place>, slice::Iter<'s, Option<Found>>>>,
    parser: Parser<'a>,
    items: Vec<Term<'a>>,
    /// How many bytes the items had.
    bytes: usize,
    /// What a packed body is unpacked into.
    buffer: Vec<u8>,
}

impl<'a, 's> List<'a, 's> {
    fn of(env: Env<'a>, store: StoreArg<'s>, cursor: &'s Cursor, piece: &'s Piece) -> Self {
        let places = cursor.places.get(piece.start..).unwrap_or_default();
        Self {
            env,
            store,
            cursor,
            start: piece.start,
            rest: places.iter().zip(&piece.found).peekable(),
            parser: Parser::new(env),
            items: Vec::with_capacity(piece.found.len()),
            bytes: 0,
            buffer: Vec::new(),
        }
    }

    /// Has the next shape that was cold, with its body if there is one, and those before it.
    fn push_cold(&mut self, body: Option<&[u8]>) -> ControlFlow<()> {
        self.push_warm();
        if !self.is_full()
            && let Some((place, _)) = self.rest.next()
        {
            self.push(place, body);
        }
        if self.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Has what comes before the next cold one.
    fn push_warm(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while !self.is_full()
            && let Some((place, found)) =
                self.rest.next_if(|(_, found)| !matches!(found, Some(Found::Cold(_))))
        {
            let body = match found {
                Some(Found::Warm(body)) => {
                    Some(self.store.store.dictionary().unpack(body, &mut buffer))
                }
                _gone => None,
            };
            self.push(place, body);
        }
        self.buffer = buffer;
    }

    fn push(&mut self, place: &Place, body: Option<&[u8]>) {
        let shape = body.map(|body| {
            self.bytes += body.len();
            self.parser.parse(place.table, body).unwrap_or_else(|| binary(self.env, body))
        });
        self.items.push((binary(self.env, &place.handle), shape).encode(self.env));
    }

    fn is_full(&self) -> bool {
        self.bytes >= PIECE_BYTES
    }

    fn answer(self) -> Term<'a> {
        if self.items.is_empty() {
            return atoms::done().encode(self.env);
        }
        // Asked afterwards: a shape that a closing store lacks is not gone, it cannot be read.
        readable!(self.env, self.store);
        self.cursor.move_to(self.start + self.items.len());
        (atoms::ok(), self.items).encode(self.env)
    }
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
