//! The stores by the ids of their stacks.
//!
//! Each call of a request names its stack. To find the store takes no lock and counts
//! nothing, as all schedulers would write to one word. A start and an end write a copy of a
//! part of the table: a call that reads meanwhile has the one before it until it returns.

use std::{collections::HashMap, hash::BuildHasher as _, ptr, sync::Arc};

use arc_swap::{ArcSwap, Guard};
use foldhash::fast::RandomState;
use once_cell::sync::Lazy;
use rustler::{Atom, Binary, Decoder, NifResult, ResourceArc, Term};

use crate::{
    atoms, messenger,
    resource::{StoreArg, StoreResource},
};

/// Thousands of stacks may start one after another, each with a copy.
const PARTS: usize = 32;

type Part = HashMap<Arc<[u8]>, ResourceArc<StoreResource>, RandomState>;

struct Stacks {
    hasher: RandomState,
    parts: [ArcSwap<Part>; PARTS],
}

static STACKS: Lazy<Stacks> = Lazy::new(|| Stacks {
    hasher: RandomState::default(),
    parts: std::array::from_fn(|_| ArcSwap::default()),
});

impl Stacks {
    #[expect(clippy::indexing_slicing, reason = "there are PARTS parts")]
    fn part(&self, stack: &[u8]) -> &ArcSwap<Part> {
        &self.parts[self.hasher.hash_one(stack) as usize % PARTS]
    }
}

/// Has calls that name this stack find the store.
pub(crate) fn enter(stack: &[u8], store: &ResourceArc<StoreResource>) {
    let stack = Arc::from(stack);
    STACKS.part(&stack).rcu(|part| {
        let mut part = Part::clone(part);
        part.insert(Arc::clone(&stack), store.clone());
        part
    });
}

/// Nobody finds the store any more. One that took its place stays.
pub(crate) fn leave(stack: &[u8], store: &StoreResource) {
    let part = STACKS.part(stack);
    let is_there = |part: &Part| part.get(stack).is_some_and(|there| ptr::eq(&**there, store));
    let before = part.rcu(|part| {
        if !is_there(part) {
            return Arc::clone(part);
        }
        let mut part = Part::clone(part);
        part.remove(stack);
        Arc::new(part)
    });
    // It may be the last who has the store, which is in a call of its own.
    messenger::post(move || drop(before));
}

/// A stack by its id, or by its store, which whoever goes on with what they began has. That
/// of the id may be another by then.
pub(crate) enum StackArg<'a> {
    Store(StoreArg<'a>),
    Id { part: Guard<Arc<Part>>, id: Binary<'a> },
}

impl<'a> Decoder<'a> for StackArg<'a> {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        match term.decode::<Binary<'a>>() {
            Ok(id) => Ok(Self::Id { part: STACKS.part(&id).load(), id }),
            Err(_) => term.decode().map(Self::Store),
        }
    }
}

impl StackArg<'_> {
    /// `None` when no stack of this id runs.
    pub(crate) fn store(&self) -> Option<&StoreResource> {
        match self {
            Self::Store(store) => Some(store),
            Self::Id { part, id } => part.get(&**id).map(|store| &**store),
        }
    }

    /// The store, if it answers lookups. A stack that does not run is as good as closed.
    pub(crate) fn readable(&self) -> Result<&StoreResource, Atom> {
        self.store().ok_or_else(atoms::closed)?.readable()
    }
}
