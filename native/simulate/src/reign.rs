//! The time that a store was the writer, and what the file may hold of it.

use std::collections::BTreeSet;

use crate::model::{Held, ShapeId, View};

/// A change that was taken.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "they are what they are called")]
pub enum Change {
    Add {
        handle: String,
        shape: ShapeId,
        flags: u8,
    },
    Remove {
        handle: String,
    },
    Mark {
        handle: String,
        snapshot: u8,
    },
    /// As one change.
    Flags(Vec<(String, u8)>),
    /// What the flags mean.
    Version(String),
    Reset,
    Nothing,
    /// The store says that the body is gone.
    Lost {
        handle: String,
    },
}

/// A change with its number, which is one of these.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) change: Change,
}

/// The time that a store was the writer.
#[derive(Debug)]
pub struct Reign {
    /// Whose.
    pub store: usize,
    /// Under which epoch.
    pub epoch: i64,
    pub(crate) start: View,
    /// What the flags meant.
    pub(crate) version: Option<String>,
    /// All changes, those that were given up included.
    pub(crate) now: View,
    /// The last number before it.
    pub(crate) base: u64,
    pub(crate) changes: Vec<Done>,
    /// The highest number that is known to be durable.
    pub durable: u64,
    /// The last number that can be.
    pub last: u64,
    /// Whether its store may still commit.
    pub open: bool,
    /// Whether its store was closing in order, and may have noted that the file is clean.
    pub(crate) closing: bool,
    /// How far the next reign found it, if the file was sound then.
    pub(crate) handed_over: Option<u64>,
    /// Whether the file was written anew, when it may be ahead of the durable number.
    pub(crate) rebuilt: bool,
    /// Whether the file was damaged or replaced, so that bodies may be gone.
    pub shaken: bool,
}

impl Change {
    pub(crate) fn apply(&self, view: &mut View) {
        match self {
            Self::Add { handle, shape, flags } => {
                let held = Held { shape: *shape, snapshot: 0, flags: *flags };
                view.insert(handle.clone(), held);
            }
            Self::Remove { handle } | Self::Lost { handle } => {
                view.remove(handle);
            }
            Self::Mark { handle, snapshot } => {
                if let Some(held) = view.get_mut(handle) {
                    held.snapshot = held.snapshot.max(*snapshot);
                }
            }
            Self::Flags(all) => {
                for (handle, flags) in all {
                    if let Some(held) = view.get_mut(handle) {
                        held.flags = *flags;
                    }
                }
            }
            Self::Reset => view.clear(),
            Self::Version(_) | Self::Nothing => {}
        }
    }
}

impl Reign {
    /// The last number before it.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// What its store has.
    pub fn view(&self) -> &View {
        &self.now
    }

    /// The states that the file may be in if commits ended at a number from `from` to
    /// `to`, with the highest such number of each.
    pub(crate) fn states(&self, from: u64, to: u64) -> Vec<(u64, View)> {
        let mut states = Vec::new();
        let mut view = self.start.clone();
        let mut at = self.base;
        for done in &self.changes {
            if done.first > to {
                break;
            }
            if done.first > from && done.first > at {
                states.push((done.first - 1, view.clone()));
            }
            done.change.apply(&mut view);
            at = done.first;
        }
        states.push((to, view));
        states
    }

    /// What the flags mean by now.
    pub fn version_now(&self) -> Option<&str> {
        self.versions(self.last, self.last).last().copied().flatten()
    }

    /// What the flags may mean if commits ended at a number from `from` to `to`.
    pub(crate) fn versions(&self, from: u64, to: u64) -> Vec<Option<&str>> {
        let mut versions = vec![self.version.as_deref()];
        for done in self.changes.iter().filter(|done| done.first <= to) {
            if let Change::Version(version) = &done.change {
                if done.last <= from {
                    versions.clear();
                }
                versions.push(Some(version));
            }
        }
        versions
    }

    /// What a name may lead to if commits ended at a number from `from` to `to`.
    pub(crate) fn allowed(&self, handle: &str, from: u64, to: u64) -> Vec<Option<Held>> {
        let mut view: View =
            self.start.iter().filter(|(name, _)| *name == handle).map(own).collect();
        let mut allowed = vec![view.get(handle).copied()];
        for done in &self.changes {
            if done.first > to {
                break;
            }
            done.change.apply(&mut view);
            view.retain(|name, _| name == handle);
            if done.last <= from && !matches!(done.change, Change::Lost { .. }) {
                allowed.clear();
            }
            allowed.push(view.get(handle).copied());
        }
        allowed
    }

    /// The shapes whose adds are not known to be durable.
    pub(crate) fn unsettled(&self) -> BTreeSet<ShapeId> {
        let after = self.changes.iter().filter(|done| done.last > self.durable);
        let added = after.filter_map(|done| match done.change {
            Change::Add { shape, .. } => Some(shape),
            _ => None,
        });
        added.collect()
    }

    pub(crate) fn handles(&self) -> BTreeSet<&String> {
        let added = self.changes.iter().filter_map(|done| match &done.change {
            Change::Add { handle, .. } => Some(handle),
            _ => None,
        });
        self.start.keys().chain(added).collect()
    }
}

fn own<'a>((name, held): (&'a String, &'a Held)) -> (String, Held) {
    (name.clone(), *held)
}
