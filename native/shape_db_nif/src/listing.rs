//! Listing: a cursor over the shapes there were when it was opened, read in
//! pieces. What went since is left out, what was added again is what it is now.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustler::{Encoder, Env, Resource, ResourceArc, Term};
use shape_store::{Found, Place};

use crate::{
    atoms,
    lookups::{consume, is_complete, readable},
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
fn cursor<'a>(env: Env<'a>, store: StoreArg) -> Term<'a> {
    readable!(env, store);
    let places = store.store.places();
    ResourceArc::new(Cursor { places, next: AtomicUsize::new(0) }).encode(env)
}

/// The next `{handle, hash, complete?}`, about `len` of them; `:done` after the
/// last.
#[rustler::nif]
fn next_meta<'a>(env: Env<'a>, store: StoreArg, cursor: ResourceArc<Cursor>, len: u16) -> Term<'a> {
    next(env, &cursor, len, |place| {
        let entry = store.store.entry_at(place)?;
        Some((binary(env, &place.handle), entry.hash, is_complete(entry.snapshot)).encode(env))
    })
}

/// The next `{handle, body}` or `{handle, row}`, about `len` of them; `:done`
/// after the last.
#[rustler::nif]
fn next_bodies<'a>(
    env: Env<'a>,
    store: StoreArg,
    cursor: ResourceArc<Cursor>,
    len: u16,
) -> Term<'a> {
    next(env, &cursor, len, |place| {
        let found = match store.store.body_at(place)? {
            Found::Warm(body) => binary(env, &body),
            Found::Cold(row) => row.encode(env),
        };
        Some((binary(env, &place.handle), found).encode(env))
    })
}

fn next<'a>(
    env: Env<'a>,
    cursor: &Cursor,
    len: u16,
    item: impl FnMut(&Place) -> Option<Term<'a>>,
) -> Term<'a> {
    match cursor.piece(usize::from(len.max(1))) {
        [] => atoms::done().encode(env),
        places => {
            consume(env, places.len());
            places.iter().filter_map(item).collect::<Vec<_>>().encode(env)
        }
    }
}
