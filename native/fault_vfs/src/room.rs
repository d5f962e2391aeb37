//! A pretended disk: the bytes that lasting files take, against a capacity.

use parking_lot::Mutex;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

#[derive(Default)]
pub(crate) struct Room(Mutex<State>);

#[derive(Default)]
struct State {
    capacity: Option<u64>,
    sizes: HashMap<PathBuf, u64>,
}

impl Room {
    pub(crate) fn set_capacity(&self, bytes: Option<u64>) {
        self.0.lock().capacity = bytes;
    }

    pub(crate) fn used(&self) -> u64 {
        self.0.lock().used()
    }

    /// Takes room for a write and says how many of its bytes fit. What overwrites always does.
    pub(crate) fn reserve(&self, path: &Path, offset: u64, length: u64) -> u64 {
        let mut state = self.0.lock();
        let size = state.sizes.get(path).copied().unwrap_or(0);
        let grown = (offset + length).saturating_sub(size);
        let wanted = state.used() + grown;
        let excess = state.capacity.map_or(0, |capacity| wanted.saturating_sub(capacity));
        // A write may start beyond the end: then even none of its bytes may fit.
        let fits = length.saturating_sub(excess.min(grown));
        if fits > 0 {
            state.resize(path, size.max(offset + fits));
        }
        fits
    }

    /// Notes a size that is known: at opening and after a truncate.
    pub(crate) fn resize(&self, path: &Path, size: u64) {
        self.0.lock().resize(path, size);
    }

    pub(crate) fn forget(&self, path: &Path) {
        self.0.lock().sizes.remove(path);
    }
}

impl State {
    fn used(&self) -> u64 {
        self.sizes.values().sum()
    }

    fn resize(&mut self, path: &Path, size: u64) {
        match self.sizes.get_mut(path) {
            Some(known) => *known = size,
            None => drop(self.sizes.insert(path.to_owned(), size)),
        }
    }
}
