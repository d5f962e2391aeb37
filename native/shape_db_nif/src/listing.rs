//! Listing: a cursor over the handles there were when it was opened, read in
//! pieces. What went since is left out, what was added again is what it is now.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustler::{Encoder, Env, Resource, ResourceArc, Term};
use shape_store::{Found, Handle};

use crate::{
    atoms,
    lookups::{is_complete, readable},
    resource::{StoreArg, binary},
};

struct Cursor {
    handles: Vec<Handle>,
    next: AtomicUsize,
}

#[rustler::resource_impl]
impl Resource for Cursor {}

impl Cursor {
    fn piece(&self, len: usize) -> &[Handle] {
        let start = self.next.fetch_add(len, Relaxed).min(self.handles.len());
        let end = start.saturating_add(len).min(self.handles.len());
        self.handles.get(start..end).unwrap_or_default()
    }
}

/// A cursor over all shapes, by handle or in no order.
#[rustler::nif(schedule = "DirtyCpu")]
fn cursor<'a>(env: Env<'a>, store: StoreArg, sorted: bool) -> Term<'a> {
    readable!(env, store);
    let mut handles = store.store.handles();
    if sorted {
        handles.sort_unstable();
    }
    ResourceArc::new(Cursor { handles, next: AtomicUsize::new(0) }).encode(env)
}

/// The next `{handle, hash, complete?}`, about `len` of them; `:done` after the
/// last.
#[rustler::nif]
fn next_meta<'a>(env: Env<'a>, store: StoreArg, cursor: ResourceArc<Cursor>, len: u16) -> Term<'a> {
    next(env, &cursor, len, |handle| {
        let entry = store.store.entry(handle)?;
        Some((binary(env, handle), entry.hash, is_complete(entry.snapshot)).encode(env))
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
    next(env, &cursor, len, |handle| {
        let found = match store.store.body(handle)? {
            Found::Warm(body) => binary(env, &body),
            Found::Cold(row) => row.encode(env),
        };
        Some((binary(env, handle), found).encode(env))
    })
}

fn next<'a>(
    env: Env<'a>,
    cursor: &Cursor,
    len: u16,
    item: impl FnMut(&Handle) -> Option<Term<'a>>,
) -> Term<'a> {
    match cursor.piece(usize::from(len.max(1))) {
        [] => atoms::done().encode(env),
        handles => handles.iter().filter_map(item).collect::<Vec<_>>().encode(env),
    }
}
