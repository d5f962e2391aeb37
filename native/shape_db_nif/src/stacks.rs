//! The stores by the ids of their stacks.
//!
//! Each call of a request names its stack. To find the store takes no lock and counts
//! nothing, as all schedulers would write to one word. A start and an end write a copy of a
//! part of the table: a call that reads meanwhile has the one before it until it returns.

use std::{hash::BuildHasher as _, ptr, sync::Arc};

use arc_swap::{ArcSwap, Guard};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use once_cell::sync::Lazy;
use rustler::{Atom, Binary, Decoder, NifResult, ResourceArc, Term};

use crate::{
    atoms, messenger,
    resource::{StoreArg, StoreResource},
};

/// Thousands of stacks may start one after another, each with a copy.
const PARTS: usize = 32;

type Part = HashTable<Entry>;

#[derive(Clone)]
pub(crate) struct Entry {
    stack: Arc<[u8]>,
    store: ResourceArc<StoreResource>,
}

struct Stacks {
    hasher: RandomState,
    parts: [ArcSwap<Part>; PARTS],
}

static STACKS: Lazy<Stacks> = Lazy::new(|| Stacks {
    hasher: RandomState::default(),
    parts: std::array::from_fn(|_| ArcSwap::default()),
});

impl Stacks {
    fn hash(&self, stack: &[u8]) -> u64 {
        self.hasher.hash_one(stack)
    }

    #[expect(clippy::indexing_slicing, reason = "there are PARTS parts")]
    fn part(&self, hash: u64) -> &ArcSwap<Part> {
        // By other bits than those that a table goes by.
        &self.parts[(hash >> 32) as usize % PARTS]
    }

    /// Replaces the part of the table in which the hash is.
    fn change(&self, hash: u64, change: impl Fn(&mut Part)) {
        let before = self.part(hash).rcu(|part| {
            let mut part = Part::clone(part);
            change(&mut part);
            part
        });
        // A reference less for each store that is in it, away from the schedulers.
        messenger::post(move || drop(before));
    }
}

fn remove(part: &mut Part, hash: u64, is_it: impl Fn(&Entry) -> bool) {
    if let Ok(found) = part.find_entry(hash, is_it) {
        found.remove();
    }
}

/// Has calls that name this stack find the store.
pub(crate) fn enter(stack: &[u8], store: &ResourceArc<StoreResource>) {
    let hash = STACKS.hash(stack);
    let entry = Entry { stack: stack.into(), store: store.clone() };
    STACKS.change(hash, |part| {
        remove(part, hash, |there| there.stack == entry.stack);
        part.insert_unique(hash, entry.clone(), |there| STACKS.hash(&there.stack));
    });
}

/// Nobody finds the store any more. One that took its place stays.
pub(crate) fn leave(stack: &[u8], store: &StoreResource) {
    let hash = STACKS.hash(stack);
    let is_it = |there: &Entry| ptr::eq(&*there.store, store);
    // Most that end were taken out when they closed.
    if STACKS.part(hash).load().find(hash, is_it).is_some() {
        STACKS.change(hash, |part| remove(part, hash, is_it));
    }
}

/// A stack by its id, or by its store, which whoever goes on with what they began has. That
/// of the id may be another by then.
pub(crate) enum StackArg<'a> {
    Store(StoreArg<'a>),
    Id { part: Guard<Arc<Part>>, hash: u64, id: Binary<'a> },
}

impl<'a> Decoder<'a> for StackArg<'a> {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        match term.decode::<Binary<'a>>() {
            Ok(id) => {
                let hash = STACKS.hash(&id);
                Ok(Self::Id { part: STACKS.part(hash).load(), hash, id })
            }
            Err(_) => term.decode().map(Self::Store),
        }
    }
}

impl StackArg<'_> {
    /// `None` when no stack of this id runs.
    pub(crate) fn store(&self) -> Option<&StoreResource> {
        match self {
            Self::Store(store) => Some(store),
            Self::Id { .. } => self.resource().map(|store| &**store),
        }
    }

    /// The store that was found by the id of its stack, to be handed out.
    pub(crate) fn resource(&self) -> Option<&ResourceArc<StoreResource>> {
        match self {
            Self::Store(_) => None,
            Self::Id { part, hash, id } => {
                part.find(*hash, |there| *there.stack == **id).map(|there| &there.store)
            }
        }
    }

    /// The store, if it takes a change; one that is an add says whether its flags are given. By
    /// the id, a change is queued as it is: `:options` where those of the stack say more, which
    /// is then for who has the store, with the options that belong to it.
    pub(crate) fn changeable(&self, flags_given: bool) -> Result<&StoreResource, Atom> {
        let store = self.store().ok_or_else(atoms::closed)?;
        match self {
            Self::Id { .. } if !store.buffered || (store.flags.is_some() && !flags_given) => {
                Err(atoms::options())
            }
            _ => Ok(store),
        }
    }

    /// The store, if it answers lookups. A stack that does not run is as good as closed.
    pub(crate) fn readable(&self) -> Result<&StoreResource, Atom> {
        self.store().ok_or_else(atoms::closed)?.readable()
    }
}
